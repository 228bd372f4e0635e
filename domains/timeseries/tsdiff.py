"""TSDiff: one unconditional diffusion model of the windows of a table, and how it is trained and stored.

    process    x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps, 100 steps, betas linear from 1e-4 to 0.1
    loss       |eps - eps(x_k, k)|^2, mean over entries that were observed, k uniform over whole steps
    window     C + P points of one series and its lags, divided by the mean absolute context

The same model forecasts, imputes, refines, scores and synthesizes; `domains.timeseries` has one module for
each. Two other kinds share everything here: "tsdiff-cond" (`conditional`) and "tsflow" (`flow`), which are
told the context.

Source: Kollovieh, Ansari, Bohlke-Schneider, Zschiegner, Wang & Wang 2023, arXiv:2307.11494. Deviations: the
last P points of every series are held out of training where they serve validation, and an average of the
weights may be kept (`ema`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from core.denoise import Wrapped
from core.errors import CheckpointError, ModelMismatch
from core.state import Source, uniform
from core.train.checkpoint import Checkpoint, denoiser_of, load, save
from core.train.objective import Times
from core.train.samples import Batch
from domains.timeseries.config import Kind, SampleConfig, checked
from domains.timeseries.data import Series
from domains.timeseries.frequency import canonical
from domains.timeseries.networks import Backbone
from domains.timeseries.windows import Shape

__all__ = [
    "SeriesModel",
    "WholeSteps",
    "WindowLoss",
    "check_frequency",
    "load_model",
    "model_of",
    "save_model",
    "series_card",
]

FORMAT = 1


@dataclass(frozen=True)
class SeriesModel:
    """A trained model of the windows of a table.

    Attributes:
        denoiser: of scaled windows (B, channels, L).
        shape: which points of a series make a window.
        kind: "tsdiff", "tsdiff-cond" or "tsflow".
        freq: of the series it was trained on.
        season: points per season there.
        sampling: how it is best sampled, as far as is known.
        checkpoint: everything that was stored.
    """

    denoiser: Wrapped
    shape: Shape
    kind: Kind
    freq: str
    season: int
    sampling: SampleConfig
    checkpoint: Checkpoint

    @property
    def card(self) -> dict[str, Any]:
        """What it was trained on and how, as JSON values."""
        return dict(self.checkpoint.training["series"])

    def to(self, device: torch.device | str) -> "SeriesModel":
        """The same model on a device."""
        return replace(self, denoiser=self.denoiser.to(device))

    def with_sampling(self, sampling: SampleConfig) -> "SeriesModel":
        """The same model with other recommended settings; `save_model` stores them."""
        training = dict(self.checkpoint.training)
        training["series"] = {**training["series"], "sampling": sampling.model_dump(mode="json")}
        return replace(self, sampling=sampling, checkpoint=replace(self.checkpoint, training=training))


@dataclass(frozen=True)
class WholeSteps:
    """Times uniform over the whole steps 1 .. n of a process that counts steps."""

    def times(self, process: Any, u: Tensor) -> Tensor:
        return (1 + (u.double() * process.ends[1]).floor()).clamp(max=process.ends[1])

    def density(self, process: Any, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 / process.ends[1])


@dataclass(frozen=True)
class WindowLoss:
    """Mean squared error of what the network predicts, over observed entries.

    `batch.cond["observed"]`, like x_0, leaves entries out. The error of D is weighted by (alpha / sigma)^2
    for a network of noise and by 1 / t^2 for one of the straight flow: both are unit weight on its output.

    Args:
        times: law of the training times.
    """

    times: Times = WholeSteps()

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        """Loss of each window, (B,)."""
        x0, process = batch.x0, denoiser.process
        t = self.times.times(process, uniform((len(x0),), gen, dtype=torch.float64, device=x0.device))
        x, _ = process.perturb(x0, t, gen)
        error = (denoiser(x, t, batch.cond).mean - x0).square().flatten(1)
        observed = None if batch.cond is None else batch.cond.get("observed")
        if observed is None:
            mean = error.mean(1)
        else:
            seen = observed.to(error).flatten(1)
            mean = (error * seen).sum(1) / seen.sum(1).clamp_min(1)
        return output_weight(process, denoiser.predicts, t).to(mean) * mean


def output_weight(process: Any, predicts: str, t: Tensor) -> Tensor:
    """1 / pull^2 where D = keep x + pull output, (B,): an error of D times this is one of the output."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    if predicts == "eps":
        return (alpha / sigma) ** 2
    slope, spread = process.rates(t)
    return ((slope * sigma - alpha * spread) / sigma) ** 2


def series_card(
    shape: Shape, kind: Kind, freq: str, season: int, sampling: SampleConfig, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """What a checkpoint says about the series it was trained on, as JSON values."""
    return {
        "format": FORMAT,
        "kind": kind,
        "freq": freq,
        "season": season,
        "context_length": shape.context,
        "prediction_length": shape.prediction,
        "lags": list(shape.lags),
        "scaling": shape.scaling,
        "median_scale": shape.fallback,
        "sampling": sampling.model_dump(mode="json"),
        **extra,
    }


def model_of(checkpoint: Checkpoint) -> SeriesModel:
    """The model that a checkpoint holds, ready to sample.

    Raises:
        CheckpointError: it holds no model of series, or one of another format.
    """
    card = checkpoint.training.get("series")
    if checkpoint.role not in get_args(Kind) or not isinstance(card, Mapping):
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected a model of time series "
            f"({', '.join(get_args(Kind))}).",
            hint="Train one: suffuse timeseries train.",
        )
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"the model has format {card.get('format')}, this version reads {FORMAT}.", hint="Train it again."
        )
    shape = Shape(
        context=card["context_length"],
        prediction=card["prediction_length"],
        lags=tuple(card["lags"]),
        scaling=card["scaling"],
        fallback=card["median_scale"],
    )
    return SeriesModel(
        denoiser=denoiser_of(checkpoint, Backbone(**checkpoint.net)),
        shape=shape,
        kind=card["kind"],
        freq=card["freq"],
        season=card["season"],
        sampling=checked(SampleConfig, dict(card["sampling"])),
        checkpoint=checkpoint,
    )


def save_model(model: SeriesModel, folder: Path) -> Path:
    """Write `model.safetensors` and, for readers, `card.json` into a folder; returns the first."""
    path = folder / "model.safetensors"
    save(path, model.checkpoint)
    (folder / "card.json").write_text(json.dumps(model.card, indent=2) + "\n", encoding="utf-8")
    return path


def load_model(path: Path) -> SeriesModel:
    """Read a model from its file or from the folder that holds it.

    Raises:
        CheckpointError: it is missing, truncated, of another format, or no model of series.
    """
    return model_of(load(path / "model.safetensors" if path.is_dir() else path))


def check_frequency(model: SeriesModel, series: Series) -> None:
    """Refuse a series of another frequency than the model was trained on.

    Raises:
        ModelMismatch: they differ.
    """
    if canonical(series.freq) != canonical(model.freq):
        raise ModelMismatch(
            f"series '{series.item_id}' has frequency '{series.freq}', the model was trained on "
            f"'{model.freq}'.",
            hint="Resample the series, or train a model on this frequency.",
        )
