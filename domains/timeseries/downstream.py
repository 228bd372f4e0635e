"""What deep forecasters learn from synthetic windows: DeepAR and a transformer, trained on them alone.

Windows are already scaled by their contexts, so the forecasters are trained without scaling and without time
features, on lags within the context; tests are divided by the mean absolute value of their context and
multiplied back. The same training on real windows is the yardstick.

Source: Kollovieh et al. 2023, arXiv:2307.11494, section 5.3 and appendix B.4. Their transformer is GluonTS's
of that time; today's GluonTS has PatchTST (Nie et al. 2023, arXiv:2211.14730) in its place.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np

from core.errors import ConfigError, unknown
from core.extras import require
from core.seeded import seeded
from domains.timeseries.data import Array, Forecast, Instance
from domains.timeseries.formats.write import entries
from domains.timeseries.lps import contexts
from domains.timeseries.metrics import score
from domains.timeseries.synthesize import as_table

__all__ = ["Downstream", "downstream_score"]

Downstream = Literal["deepar", "transformer"]
FLOOR = 1e-10
QUIET = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


def downstream_score(
    windows: Array,
    instances: Sequence[Instance],
    *,
    prediction_length: int,
    freq: str,
    season: int,
    model: Downstream = "deepar",
    epochs: int = 10,
    batches: int = 50,
    samples: int = 100,
    seed: int = 0,
) -> float:
    """Mean weighted quantile loss of a forecaster that was trained on windows and is tested on real series.

    Args:
        windows: (N, C + P), scaled by their contexts.
        instances: real tests with labels of P points.
        freq: of the series.
        season: points; a lag of DeepAR where it fits the context.
        epochs, batches: of 32 windows each.

    Raises:
        ConfigError: the model is unknown, or P leaves no context.
        MissingExtra: GluonTS's torch models are not installed.
    """
    if model not in get_args(Downstream):
        raise unknown("downstream model", model, get_args(Downstream))
    c = windows.shape[1] - prediction_length
    if c < 4:
        raise ConfigError(f"windows of {windows.shape[1]} points leave a context of {c}; 4 are needed.")
    table = as_table(windows, freq)
    with _quiet(), TemporaryDirectory() as folder, seeded(seed):
        np.random.seed(seed)  # noqa: NPY002  # GluonTS draws its training windows from it
        predictor = _estimator(model, c, prediction_length, freq, season, epochs, batches, folder).train(
            [{**entry, "target": np.asarray(entry["target"], dtype=np.float32)} for entry in entries(table)]
        )
        scales = np.abs(contexts(instances, c)).mean(axis=1)
        scales = np.where(scales > FLOOR, scales, 1.0)
        histories = [
            {
                "item_id": str(i),
                "start": instance.series.end - c,
                "target": (row / scale).astype(np.float32),
            }
            for i, (instance, row, scale) in enumerate(
                zip(instances, contexts(instances, c), scales, strict=True)
            )
        ]
        found = list(predictor.predict(histories, num_samples=samples))
    forecasts = [
        Forecast(instance.series.item_id, instance.series.end, _samples(one, samples) * scale)
        for instance, one, scale in zip(instances, found, scales, strict=True)
    ]
    value = score(forecasts, instances, season=season).mean_wql
    return float("nan") if value is None else value


def _samples(forecast: Any, count: int) -> Array:
    if hasattr(forecast, "samples"):
        return np.asarray(forecast.samples, dtype=np.float64)
    levels = (np.arange(count) + 0.5) / count
    return np.stack([np.asarray(forecast.quantile(float(level)), dtype=np.float64) for level in levels])


def _estimator(
    model: Downstream, c: int, p: int, freq: str, season: int, epochs: int, batches: int, folder: str
) -> Any:
    trainer = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "logger": False,
        "default_root_dir": folder,  # it keeps its best weights in a file
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    if model == "deepar":
        lags = sorted({1, 2, 3, *([season] if season <= c // 2 else [])})
        estimator: Any = require("gluonts.torch.model.deepar", extra="timeseries").DeepAREstimator
        return estimator(
            freq=freq,
            prediction_length=p,
            context_length=c - max(lags),
            lags_seq=lags,
            lr=3e-3,
            time_features=[],
            scaling=False,
            num_batches_per_epoch=batches,
            trainer_kwargs=trainer,
        )
    estimator = require("gluonts.torch.model.patch_tst", extra="timeseries").PatchTSTEstimator
    patch = max(2, min(16, c // 2))
    return estimator(
        prediction_length=p,
        context_length=c,
        patch_len=patch,
        stride=max(1, patch // 2),
        scaling=None,
        num_batches_per_epoch=batches,
        trainer_kwargs=trainer,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of the training library about machines and workers."""
    loggers = [logging.getLogger(name) for name in QUIET]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
