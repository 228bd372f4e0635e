"""TSDiff as GluonTS knows models: an estimator that trains, and a predictor that forecasts and more.

    estimator = TSDiffEstimator(prediction_length=24, freq="h", preset="tiny")
    predictor = estimator.train(dataset)            # or estimator.fit(df), for pandas
    forecasts = list(predictor.predict(dataset))    # gluonts.model.forecast.SampleForecast
    frame     = predictor.forecast(df)              # item_id, timestamp, mean, 0.1 ... 0.9

A predictor is stored as safetensors and JSON, without pickles. Guidance takes gradients of its own, so
`predict` may be called under `torch.no_grad()`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from gluonts.model.estimator import Estimator
from gluonts.model.forecast import SampleForecast
from gluonts.model.predictor import Predictor

from core.device import choose_device
from core.errors import ConfigError
from core.progress import Progress, silent
from domains.timeseries.anomaly import score_points
from domains.timeseries.config import Guidance, SampleConfig, Sampler, TrainConfig, checked, preset_for
from domains.timeseries.data import Array, Forecast, Series, Table
from domains.timeseries.forecasting import forecast
from domains.timeseries.formats.exchange import from_gluonts_forecasts, to_sample_forecasts
from domains.timeseries.formats.forecasts import long_frame
from domains.timeseries.formats.frames import Reading, read_frame
from domains.timeseries.formats.read import read_table
from domains.timeseries.frequency import canonical, times
from domains.timeseries.imputation import impute
from domains.timeseries.refine import RefineConfig, refine
from domains.timeseries.synthesize import synthesize
from domains.timeseries.training import train
from domains.timeseries.tsdiff import SeriesModel, load_model, save_model

__all__ = ["TSDiffEstimator", "TSDiffPredictor"]


class TSDiffPredictor(Predictor):
    """A trained model behind GluonTS's contract.

    Args:
        model: what was trained or loaded.
        sampling: how it samples; its own recommendation by default.
        seed: same seed, same forecasts.
    """

    def __init__(self, model: SeriesModel, *, sampling: SampleConfig | None = None, seed: int = 0) -> None:
        super().__init__(prediction_length=model.shape.prediction)
        self.model = model
        self.sampling = model.sampling if sampling is None else sampling
        self.seed = seed

    def predict(self, dataset: Iterable[dict[str, Any]], **kwargs: Any) -> Iterator[SampleForecast]:
        """Forecast every entry from its end on.

        Args:
            dataset: entries with "start" and "target"; a test set of rolling windows may repeat "item_id".
            kwargs: `num_samples`, or nothing; GluonTS hands it on by name.

        Raises:
            ConfigError: another option.
        """
        samples = kwargs.pop("num_samples", None)
        if kwargs:
            raise ConfigError(f"predict knows the option num_samples, got {', '.join(kwargs)}.")
        series = [series_of(entry, number) for number, entry in enumerate(dataset)]
        settings = self.sampling
        if samples is not None:
            settings = checked(SampleConfig, {**settings.model_dump(), "num_samples": samples})
        yield from to_sample_forecasts(forecast(self.model, series, settings, seed=self.seed).forecasts)

    def forecast(
        self,
        frame: pd.DataFrame,
        *,
        horizon: int | None = None,
        reading: Reading = Reading(),
        progress: Progress = silent,
    ) -> pd.DataFrame:
        """Forecast a pandas frame, long or wide: item_id, timestamp, mean and a column per decile.

        Args:
            horizon: points; the model's by default, more in blocks.
            reading: which column is what.
        """
        table = read_frame(frame, reading)
        found = forecast(
            self.model, list(table), self.sampling, horizon=horizon, seed=self.seed, progress=progress
        )
        return long_frame(found.forecasts, stamp=table.stamp)

    def impute(
        self,
        frame: pd.DataFrame,
        mask: Array | None = None,
        *,
        sequential: bool = False,
        reading: Reading = Reading(),
    ) -> pd.DataFrame:
        """Fill the gaps of a frame: item_id, timestamp, target (the median where it was missing), imputed.

        Args:
            mask: (rows of the frame,), false where a value must not be used; needs a long frame with sorted
                times and no gaps in the grid.
        """
        table = read_frame(frame, reading)
        known = None
        if mask is not None:
            flags, points = np.asarray(mask, dtype=bool), [len(item) for item in table]
            if len(flags) != sum(points):
                raise ConfigError(
                    f"the mask has {len(flags)} entries for the {sum(points)} points of the grid.",
                    hint="Write missing values as NaN instead.",
                )
            known = [
                part & ~np.isnan(item.target)
                for item, part in zip(table, np.split(flags, np.cumsum(points)[:-1]), strict=True)
            ]
        made = impute(
            self.model, list(table), self.sampling, known=known, sequential=sequential, seed=self.seed
        )
        frames = []
        for one in made:
            values, was = one.series.target.copy(), np.zeros(len(one.series), dtype=bool)
            if len(one.missing):
                values[one.missing] = np.median(one.samples, axis=0)
                was[one.missing] = True
            stamps = times(one.series.start, len(one.series), table.stamp)
            frames.append(
                pd.DataFrame(
                    {"item_id": one.series.item_id, "timestamp": stamps, "target": values, "imputed": was}
                )
            )
        return pd.concat(frames, ignore_index=True)

    def refine(
        self,
        base_forecasts: Iterable[Any],
        dataset: Iterable[dict[str, Any]],
        method: str = "ml",
        guidance: str = "quantile",
        iterations: int = 20,
        lr: float = 0.1,
        fixed_step: int | None = None,
    ) -> list[SampleForecast]:
        """Move forecasts of another predictor towards the learned density; see `refine.refine`.

        Args:
            base_forecasts: `SampleForecast`s, in the order of the dataset.
            dataset: the histories they continue.
        """
        config = checked(
            RefineConfig,
            {
                "method": method,
                "guidance": guidance,
                "iterations": iterations,
                "lr": lr,
                "fixed_step": fixed_step,
            },
        )
        series = [series_of(entry, number) for number, entry in enumerate(dataset)]
        base = from_gluonts_forecasts(base_forecasts)
        if not all(isinstance(one, Forecast) for one in base):
            raise ConfigError("refinement needs forecasts with samples, got quantiles.")
        renamed = [
            Forecast(item.item_id, one.start, one.samples) for item, one in zip(series, base, strict=True)
        ]
        return to_sample_forecasts(refine(self.model, renamed, series, config, seed=self.seed).forecasts)

    def synthesize(self, n: int, seed: int | None = None) -> Array:
        """n windows of C + P points in scaled units, (n, C + P)."""
        return synthesize(self.model, n, seed=self.seed if seed is None else seed)

    def log_density_proxy(self, frame: pd.DataFrame, *, reading: Reading = Reading()) -> pd.DataFrame:
        """The variational bound of the log density of every window: item_id, window_end, log_density."""
        table = read_frame(frame, reading)
        rows = []
        for item, one in zip(table, score_points(self.model, list(table), seed=self.seed), strict=True):
            ends = times(item.start, len(item) + 1, table.stamp)[one.ends - 1]
            rows.append(
                pd.DataFrame({"item_id": item.item_id, "window_end": ends, "log_density": one.log_density})
            )
        return pd.concat(rows, ignore_index=True)

    def serialize(self, path: Path) -> None:
        """Write the model and the settings into an existing folder."""
        super().serialize(path)
        save_model(self.model, path)
        settings = {"sampling": self.sampling.model_dump(mode="json"), "seed": self.seed}
        (path / "predictor.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def deserialize(cls, path: Path, device: str = "auto", **kwargs: Any) -> "TSDiffPredictor":
        """Read what `serialize` wrote.

        Raises:
            CheckpointError: the folder holds no model of series.
        """
        if kwargs:
            raise ConfigError(f"deserialize knows the option device, got {', '.join(kwargs)}.")
        path = Path(path)
        model = load_model(path).to(choose_device(device).device)
        settings = json.loads((path / "predictor.json").read_text("utf-8"))
        return cls(model, sampling=checked(SampleConfig, settings["sampling"]), seed=settings["seed"])


class TSDiffEstimator(Estimator):
    """Trains `TSDiffPredictor`s.

    Args:
        prediction_length: P.
        freq: of the series, such as "h".
        context_length: C; None takes the preset's.
        preset: "tiny", "small" or "paper"; see `config.PRESETS`.
        lags: "auto", "none", or points.
        scaling: "mean" or "none".
        guidance, scale, sampler, num_steps, num_samples: of the predictor; None takes what suits the sampler.
        train_settings: further settings of `TrainConfig`, such as {"steps": 2000}.
        seed: of weights, windows and noise.
        device: "auto", "cpu", "cuda" ...
        folder: receives snapshots and the log; None keeps everything in memory.
    """

    def __init__(
        self,
        prediction_length: int,
        freq: str,
        context_length: int | None = None,
        preset: str = "small",
        lags: Any = "auto",
        scaling: str = "mean",
        guidance: Guidance = "quantile",
        scale: float | None = None,
        sampler: Sampler = "ddpm",
        num_steps: int | None = None,
        num_samples: int = 100,
        seed: int = 0,
        device: str = "auto",
        train_settings: dict[str, Any] | None = None,
        folder: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        super().__init__(lead_time=0)
        self.prediction_length = prediction_length
        self.freq = canonical(freq)
        self.preset, self.seed, self.device, self.folder = preset, seed, device, folder
        self.progress = progress
        changes: dict[str, Any] = {"scaling": scaling, **(train_settings or {})}
        if context_length is not None:
            changes["context_length"] = context_length
        if preset != "tiny" or lags != "auto":  # the tiny preset is small because it has none
            changes["lags"] = lags
        self.config: TrainConfig = preset_for(
            preset, prediction_length=prediction_length, freq=self.freq, changes=changes
        )
        given = {"guidance": guidance, "scale": scale, "sampler": sampler, "num_steps": num_steps}
        known = {key: value for key, value in given.items() if value is not None}
        self.sampling = checked(SampleConfig, {**known, "num_samples": num_samples})

    def train(self, training_data: Iterable[dict[str, Any]], validation_data: Any = None) -> TSDiffPredictor:
        """Train on a GluonTS dataset.

        Args:
            validation_data: not used: the last P points of each training series are held out instead.
        """
        return self._train(read_table(list(training_data), freq=self.freq))

    def fit(self, frame: pd.DataFrame, *, reading: Reading = Reading()) -> TSDiffPredictor:
        """Train on a pandas frame, long or wide, or one series."""
        return self._train(read_frame(frame, replace(reading, freq=reading.freq or self.freq)))

    def _train(self, table: Table) -> TSDiffPredictor:
        trained = train(
            table,
            self.config,
            sampling=self.sampling,
            seed=self.seed,
            folder=self.folder,
            device=choose_device(self.device).device,
            preset=self.preset,
            progress=self.progress,
        )
        return TSDiffPredictor(trained.model, sampling=self.sampling, seed=self.seed)


def series_of(entry: dict[str, Any], number: int) -> Series:
    """One entry of a GluonTS dataset as a series; entries without a name are numbered."""
    start = entry["start"]
    if not isinstance(start, pd.Period):
        raise ConfigError(
            f"entry {number} starts at {start!r}, expected a pandas Period.",
            hint="Load the data with gluonts.dataset, or read them with formats.read_table.",
        )
    name = entry.get("item_id")
    target = np.asarray(entry["target"], dtype=np.float64)
    return Series(str(number) if name is None else str(name), start, target)
