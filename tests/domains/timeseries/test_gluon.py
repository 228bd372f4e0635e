"""TSDiff behind GluonTS's contract: train, predict, evaluate, store, and the pandas doors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from gluonts.dataset.split import split as gluonts_split
from gluonts.ev.metrics import MeanWeightedSumQuantileLoss
from gluonts.model import evaluate_model
from gluonts.model.predictor import Predictor

from core.errors import ConfigError
from data.synthetic.series import SeasonalAR
from domains.timeseries.data import Forecast, Instance, Series
from domains.timeseries.gluon import TSDiffEstimator, TSDiffPredictor
from domains.timeseries.metrics import LEVELS, score

P, SETTINGS = 12, {"steps": 60, "batch": 8, "hidden": 16, "blocks": 1, "validation": "none"}


def entries(n: int = 4, length: int = 240) -> list[dict[str, Any]]:
    values = SeasonalAR().draw(n, length, np.random.default_rng(3))
    start = pd.Period("2024-01-01 00:00", freq="h")
    return [
        {"item_id": f"s{i}", "start": start, "target": row.astype(np.float32)} for i, row in enumerate(values)
    ]


def frame(n: int = 3) -> pd.DataFrame:
    rows = [
        pd.DataFrame(
            {
                "unique_id": entry["item_id"],
                "ds": pd.date_range("2024-01-01", periods=len(entry["target"]), freq="h"),
                "y": entry["target"],
            }
        )
        for entry in entries(n)
    ]
    return pd.concat(rows, ignore_index=True)


def estimator(**changes: Any) -> TSDiffEstimator:
    return TSDiffEstimator(
        prediction_length=P,
        freq="H",
        context_length=24,
        preset="tiny",
        sampler="ddim",
        num_steps=5,
        num_samples=12,
        device="cpu",
        train_settings={**SETTINGS, **changes},
    )


@pytest.fixture(scope="module")
def predictor() -> TSDiffPredictor:
    return estimator().train(entries())


def test_forecasts_are_those_that_gluonts_expects(predictor: TSDiffPredictor) -> None:
    with torch.no_grad():  # as GluonTS calls predictors; guidance opens its own gradient
        found = list(predictor.predict(entries()))
    assert [one.item_id for one in found] == ["s0", "s1", "s2", "s3"]
    assert predictor.prediction_length == P
    assert predictor.lead_time == 0
    for one in found:
        assert one.samples.shape == (12, P)
        assert one.start_date == pd.Period("2024-01-11 00:00", freq="h")
        assert np.isfinite(one.samples).all()
    assert next(iter(predictor.predict(entries(), num_samples=5))).samples.shape == (5, P)
    with pytest.raises(ConfigError, match="num_samples"):
        next(iter(predictor.predict(entries(), samples=5)))


def test_a_forecast_is_the_same_alone_and_in_a_batch(predictor: TSDiffPredictor) -> None:
    together = list(predictor.predict(entries()))
    alone = next(iter(predictor.predict(entries()[2:3])))
    assert np.array_equal(together[2].samples, alone.samples)


def test_gluonts_scores_the_predictor_as_we_do(predictor: TSDiffPredictor) -> None:
    _, template = gluonts_split(entries(), offset=-2 * P)
    tests = template.generate_instances(prediction_length=P, windows=2)
    loss = MeanWeightedSumQuantileLoss(quantile_levels=LEVELS)
    theirs = evaluate_model(predictor, test_data=tests, metrics=[loss])
    forecasts, instances = [], []
    for one, (history, label) in zip(predictor.predict([pair[0] for pair in tests]), tests, strict=True):
        series = Series(history["item_id"], history["start"], history["target"])
        forecasts.append(Forecast(one.item_id, one.start_date, one.samples))
        instances.append(Instance(series, np.asarray(label["target"], dtype=np.float64)))
    ours = score(forecasts, instances, season=24).mean_wql
    assert ours == pytest.approx(float(theirs.iloc[0, 0]), abs=1e-6)


def test_a_stored_predictor_predicts_the_same(predictor: TSDiffPredictor, tmp_path: Path) -> None:
    predictor.serialize(tmp_path)
    again = Predictor.deserialize(tmp_path, device="cpu")
    assert isinstance(again, TSDiffPredictor)
    for before, after in zip(predictor.predict(entries()), again.predict(entries()), strict=True):
        assert np.array_equal(before.samples, after.samples)
    assert not list(tmp_path.glob("*.pkl")) + list(tmp_path.glob("*.pt"))


def test_frames_are_fitted_forecast_and_filled(predictor: TSDiffPredictor) -> None:
    data = frame()
    fitted = estimator(steps=5).fit(data)
    found = fitted.forecast(data)
    assert list(found.columns[:3]) == ["item_id", "timestamp", "mean"]
    assert len(found) == 3 * P
    assert found["timestamp"].min() == pd.Timestamp("2024-01-11")
    longer = predictor.forecast(data, horizon=2 * P)
    assert len(longer) == 3 * 2 * P
    holed = data.copy()
    holed.loc[[30, 31, 500], "y"] = np.nan
    filled = predictor.impute(holed)
    assert filled["imputed"].sum() == 3
    assert filled["target"].notna().all()
    kept = ~filled["imputed"]
    assert np.allclose(filled["target"][kept], data["y"][kept.to_numpy()])
    mask = np.ones(len(data), dtype=bool)
    mask[[30, 31, 500]] = False
    assert np.array_equal(predictor.impute(data, mask)["target"], filled["target"])
    with pytest.raises(ConfigError, match="mask has 7 entries"):
        predictor.impute(data, mask[:7])


def test_windows_densities_and_refinements_come_from_the_same_model(predictor: TSDiffPredictor) -> None:
    assert predictor.synthesize(3).shape == (3, 24 + P)
    # Single precision rounds differently in batches of another size.
    assert np.allclose(predictor.synthesize(3), predictor.synthesize(5)[:3], rtol=1e-4, atol=1e-5)
    density = predictor.log_density_proxy(frame(1).tail(48))
    assert list(density.columns) == ["item_id", "window_end", "log_density"]
    assert len(density) == (48 - (24 + P)) // P + 1
    assert np.isfinite(density["log_density"]).all()
    histories = [{**entry, "target": entry["target"][:-P]} for entry in entries(2)]
    base = list(predictor.predict(histories, num_samples=9))
    refined = predictor.refine(base, histories, iterations=3)
    assert [one.samples.shape for one in refined] == [(9, P)] * 2
    assert not np.array_equal(refined[0].samples, base[0].samples)


def test_settings_are_checked_when_they_are_given() -> None:
    with pytest.raises(ConfigError, match="unknown preset"):
        TSDiffEstimator(prediction_length=3, freq="h", preset="huge")
    with pytest.raises(ConfigError):
        TSDiffEstimator(prediction_length=3, freq="h", num_samples=0)
    with pytest.raises(ConfigError, match="step"):
        TSDiffEstimator(prediction_length=3, freq="h", train_settings={"steps": -1})
