"""suffuse demo --core: every sampler and steering method against its exact answer, on one page."""

import json
from pathlib import Path
from typing import Any

import pytest

from apps import cli
from apps.core_demo import page
from apps.core_demo.samplers import BUDGETS, SAMPLERS, curves
from core.progress import Progress


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, with 1 000 samples a sampler, half of what a user sees."""

    def fewer(*, n: int, seed: int, progress: Progress) -> Any:
        return curves(n=n // 2, seed=seed, progress=progress)

    out = tmp_path_factory.mktemp("core")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "curves", fewer)
        assert cli.run(["demo", "--core", "--out", str(out / "run"), "--quiet"]) == 0
    return out / "run"


def report(made: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made / "report.json").read_text())
    return found


def test_twelve_samplers_converge_to_the_floor(made: Path) -> None:
    found = report(made)
    assert len(SAMPLERS) == 12
    for name in SAMPLERS:
        sw2 = [row["sw2"] for row in found["samplers"] if row["sampler"] == name]
        assert len(sw2) == len(BUDGETS)
        # Two sets of 1 000 exact samples are .03 to .06 apart.
        assert sw2[-1] < 0.07


def test_the_default_is_at_the_floor_after_ten_calls(made: Path) -> None:
    rows = {(row["sampler"], row["calls"]): row["sw2"] for row in report(made)["samplers"]}
    default, *others = SAMPLERS
    assert rows[default, 10] < 1.3 * report(made)["floor"]
    assert rows[default, 5] < min(rows[name, 5] for name in others if (name, 5) in rows)


def test_what_claims_to_be_exact_is_and_what_is_biased_shows(made: Path) -> None:
    rows = {row["method"]: row for row in report(made)["steering"]}
    assert len(rows) == 8
    for name in ("classifier guidance", "AND, Feynman-Kac", "measured, Feynman-Kac"):
        assert rows[name]["sw2"] < 3 * rows[name]["floor"]
    assert rows["AND, scores added"]["sw2"] > 4 * rows["AND, scores added"]["floor"]
    assert rows["measured, by gradient"]["sw2"] > 2 * rows["measured, Feynman-Kac"]["sw2"]


def test_the_page_stands_alone_with_pictures_and_numbers(made: Path) -> None:
    page = (made / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/png") == 2
    for name in ("samplers.csv", "steering.csv", "samplers.png", "steering.png", "run.json"):
        assert (made / name).stat().st_size > 100
