"""The committed study of dehazed cines says what the documents say; `tests.benchmarks.video` repeats it."""

import json
from typing import Any

import pytest

from tests.benchmarks.video import METHODS, RESULTS

report: dict[str, Any] = json.loads(RESULTS.read_text("utf-8"))
STUDIES = ("mixture", "veil")


def rows(study: str) -> dict[str, dict[str, Any]]:
    return {row["method"]: row for row in report[study]}


@pytest.mark.parametrize("study", STUDIES)
def test_every_method_is_beside_the_hazy_cine_and_a_prior_that_knows_the_truth(study: str) -> None:
    found = rows(study)
    assert list(found) == list(METHODS)
    assert found["hazy"]["gain_db"] == 0
    assert all(truth["gcnr"] > 0.99 for truth in report["truth"])


@pytest.mark.parametrize("study", STUDIES)
def test_the_separation_works_where_the_prior_rejects_the_haze(study: str) -> None:
    found = rows(study)["nuclear, true frames"]
    assert found["gain_db"] > 15
    assert found["gcnr"] > 0.99
    assert found["cavity_db"] < rows(study)["hazy"]["cavity_db"] - 10


@pytest.mark.parametrize("study", STUDIES)
def test_a_briefly_trained_prior_takes_grey_for_real_and_leaves_it(study: str) -> None:
    for cavity in report["grey"][study]:
        # The truth is black; the prior's answer stays near the input.
        assert cavity["truth"] < -0.95
        assert abs(cavity["prior at 0.47"] - cavity["input"]) < 0.1
    for name in ("nuclear", "nuclear, prox", "semantic"):
        assert abs(rows(study)[name]["gain_db"]) < 0.5


@pytest.mark.parametrize("study", STUDIES)
def test_what_stands_still_is_lost_to_rank_methods_and_kept_by_the_others(study: str) -> None:
    found = rows(study)
    for name in ("svd", "rpca"):
        assert found[name]["tissue_change_db"] < -20
        assert found[name]["gain_db"] < -5
    for name in ("nuclear", "semantic"):
        assert found[name]["tissue_change_db"] > -3
        assert found[name]["flicker"] <= 1.2
