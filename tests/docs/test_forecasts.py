"""The scores of shipped time-series models are the same wherever people read them."""

import json
from pathlib import Path

import pytest

pytest.importorskip("gluonts", reason="'gluonts' is not installed (extra 'timeseries')")

from docs.figures.forecasts import HERE, README, TESTED, scored, table_of
from docs.figures.scores import marked
from domains.timeseries.formats.builtin import read_builtin
from domains.timeseries.weights import SHIPPED, cards, shipped


def test_the_readme_quotes_the_cards() -> None:
    found = marked("forecasts").search(README.read_text("utf-8"))
    assert found is not None
    assert table_of(cards()) in found.group(0)
    figure = json.loads((HERE / "forecasts.json").read_text("utf-8"))
    assert figure == json.loads((shipped("simulated") / "scores.json").read_text("utf-8"))


def test_every_shipped_model_is_scored_and_small() -> None:
    assert set(SHIPPED) <= set(TESTED)
    for card in cards():
        rows = {row["model"]: row["mean_wql"] for row in card["scores"]}
        own = rows.get("tsdiff", rows.get("tsflow"))
        assert own is not None
        assert own < min(rows["seasonal_naive"], rows["ridge"])
        assert card["command"].startswith("suffuse timeseries train")
    sizes = [file.stat().st_size for name in SHIPPED for file in Path(shipped(name)).iterdir()]
    assert sum(sizes) < 8_000_000


@pytest.mark.slow
def test_the_shipped_weights_score_what_their_card_says() -> None:
    card = json.loads((shipped("simulated") / "scores.json").read_text("utf-8"))
    facts, _, _ = scored("simulated", read_builtin("simulated"), TESTED["simulated"][1])
    again = {row["model"]: row["mean_wql"] for row in facts["scores"]}
    assert again == pytest.approx({row["model"]: row["mean_wql"] for row in card["scores"]}, rel=1e-3)
