"""Training a model of a table, of any kind, on the core's loop.

Of every series long enough the last P points are held out (`validation="holdout"`), and the model is scored
on them by its own guided forecasts. With `validate_every` that is done on the way, and the best weights are
kept; the published selection is the same on points that training has seen (`validation="reference"`), which
is optimistic.
"""

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.denoise import Wrapped, wrap
from core.errors import ConfigError, DataError
from core.process import LinearBetas
from core.progress import Progress, silent
from core.seeded import seeded
from core.train.checkpoint import Checkpoint, load, newest_snapshot, save
from core.train.config import FitConfig
from core.train.distributed import place
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import UniformTime, data_std
from core.train.samples import Samples
from domains.timeseries.conditional import ConditionalWindows, feature_count
from domains.timeseries.config import SampleConfig, TrainConfig, default_context
from domains.timeseries.data import Instance, Series, Table
from domains.timeseries.flow import process_of
from domains.timeseries.forecasting import forecast
from domains.timeseries.lags import chosen_lags
from domains.timeseries.metrics import score
from domains.timeseries.networks import Backbone
from domains.timeseries.tsdiff import SeriesModel, WholeSteps, WindowLoss, model_of, save_model, series_card
from domains.timeseries.windows import Shape, Windows, fallback_of, largest_context, usable

__all__ = ["Prepared", "Trained", "prepare", "train", "validate"]

MEASURED = range(512)  # windows that the standard deviation of the data is measured on
MEASURING_SEED = 0
BEST, SCORES = "best.safetensors", "validation.json"


@dataclass(frozen=True)
class Prepared:
    """What a training run works on.

    Attributes:
        samples: windows by number.
        shape: of the windows.
        validation: instances that are held out, or those that are not if so asked.
        season: points per season.
        notes: series left out, settings that were chosen; one line each.
    """

    samples: Samples
    shape: Shape
    validation: list[Instance]
    season: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """A model, its validation scores by step (mean weighted quantile loss), and notes about the data."""

    model: SeriesModel
    scores: dict[int, float]
    notes: tuple[str, ...]


def prepare(table: Table, config: TrainConfig) -> Prepared:
    """Choose context and lags, hold validation points out, and set up the windows.

    Raises:
        DataError: no series holds a training window, or a value is infinite.
    """
    for item in table:
        if np.isinf(item.target).any():
            raise DataError(
                f"series '{item.item_id}' has infinite values, which no scale can hold.",
                hint="Write missing values as empty cells.",
            )
    p, notes = config.prediction_length, []
    context = config.context_length
    if context is None:
        wanted = default_context("small", table.freq, p)
        context = largest_context([len(item) for item in table], 2 * p, wanted)
        notes.append(f"context length: {context} points.")
    shape = Shape(context, p, scaling=config.scaling)
    kept, out = usable(table, shape)
    if out:
        notes.append(
            f"{out} of {len(table)} series are shorter than {context} + {p} points, or empty: left out of "
            "training."
        )
    training, validation = _held_out(kept, shape, config)
    lengths = [len(item) for item in training]
    lags = chosen_lags(config.lags, table.freq, shape.length, lengths, table.seasonality)
    if config.lags == "auto":
        notes.append(f"lags: {', '.join(map(str, lags)) or 'none fit the series'}.")
    shape = replace(shape, lags=lags, fallback=fallback_of(training))
    windows = Windows(tuple(training), shape)
    samples: Samples = windows if config.kind == "tsdiff" else ConditionalWindows(windows, config.missing)
    return Prepared(samples, shape, validation, table.season, tuple(notes))


def _held_out(
    kept: Sequence[Series], shape: Shape, config: TrainConfig
) -> tuple[list[Series], list[Instance]]:
    """Training series, and what is scored. A series without room for both trains and is not scored."""
    p = shape.prediction
    fit_for = [len(item) - p >= shape.length for item in kept]
    if config.validation == "none":
        return list(kept), []
    instances = [
        Instance(item.upto(len(item) - p), item.target[-p:])
        for item, fits in zip(kept, fit_for, strict=True)
        if fits and np.isfinite(item.target[: len(item) - p]).any() and np.isfinite(item.target[-p:]).any()
    ]
    if config.validation_series is not None and len(instances) > config.validation_series:
        # A fixed, even choice: every k-th series of the table.
        at = np.linspace(0, len(instances) - 1, config.validation_series).round().astype(int)
        instances = [instances[i] for i in at]
    if config.validation == "reference":
        return list(kept), instances
    shortened = [item.upto(len(item) - p) if fits else item for item, fits in zip(kept, fit_for, strict=True)]
    return [item for item in shortened if np.isfinite(item.target).any()], instances


def train(
    table: Table,
    config: TrainConfig,
    *,
    sampling: SampleConfig | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    preset: str | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train one model on the series of a table.

    Args:
        table: training series, test windows left out (`data.split`).
        config: window, network, schedule; `config.preset_for` builds one.
        sampling: how the model is sampled for validation, and by default afterwards.
        seed: of weights, windows and noise; same seed, same model.
        folder: receives snapshots, log, `model.safetensors` and `card.json`; None keeps everything in memory.
        resume: go on from the newest snapshot in `folder`.
        preset: its name, for the card.

    Raises:
        DataError: no series holds a training window.
        NumericalError: the loss is not finite; the last good snapshot is named.
    """
    prepared = prepare(table, config)
    denoiser = build(prepared, config, seed).to(device)
    sampling = sampling or default_sampling(config)
    card = {
        "role": config.kind,
        "preset": preset,
        "training": {
            "series": series_card(
                prepared.shape,
                config.kind,
                table.freq,
                prepared.season,
                sampling,
                {"table": table.name, "count": len(table), "config": config.model_dump(mode="json")},
            )
        },
    }
    loss = WindowLoss(WholeSteps() if config.kind != "tsflow" else UniformTime())
    if config.validate_every is not None and config.schedule != "constant":
        raise ConfigError(
            "weights are chosen on the way under a constant learning rate only.",
            hint="Set schedule='constant', or leave validate_every out.",
        )
    if config.validate_every is not None and folder is None and place().world > 1:
        raise ConfigError("several processes choose weights on the way in one folder.", hint="Give a folder.")
    with ExitStack() as stack:
        where = folder
        if where is None and config.validate_every is not None:
            where = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        done, kept = _kept(where) if resume else (0, _Kept({}, None))
        for stop in _stops(config):
            if stop < done or (stop == done and stop in kept.scores):
                continue
            checkpoint = fit(
                loss,
                denoiser,
                prepared.samples,
                _settings(config, stop),
                seed=seed,
                folder=where,
                resume=resume or stop > _stops(config)[0],
                card=card,
                progress=progress,
            )
            value = None
            if prepared.validation:
                value = validate(model_of(checkpoint).to(device), prepared, config, progress=progress)
            kept = kept.after(stop, value, checkpoint)
            if where is not None and config.validate_every is not None and place().rank == 0:
                kept.write(where)
    assert kept.best is not None
    model = model_of(_scored(kept.best, kept.scores)).to(device)
    if folder is not None and place().rank == 0:
        save_model(model, folder)
    return Trained(model, kept.scores, prepared.notes)


@dataclass(frozen=True)
class _Kept:
    """Validation scores by step so far, and the weights of the best of them (the last without scores)."""

    scores: dict[int, float]
    best: Checkpoint | None

    def after(self, step: int, score: float | None, checkpoint: Checkpoint) -> "_Kept":
        """With one more step; of equal scores the later weights are kept."""
        if score is None:
            return _Kept(self.scores, checkpoint)
        better = self.best is None or score <= min(self.scores.values(), default=float("inf"))
        return _Kept({**self.scores, step: score}, checkpoint if better else self.best)

    def write(self, folder: Path) -> None:
        """Keep both beside the snapshots, so that a resumed run chooses as one that was not stopped."""
        if self.best is not None:
            save(folder / BEST, self.best)
        (folder / SCORES).write_text(json.dumps(self.scores) + "\n", encoding="utf-8")


def _kept(folder: Path | None) -> tuple[int, _Kept]:
    """Steps done and what was kept by a run that is resumed."""
    snapshot = None if folder is None or not folder.is_dir() else newest_snapshot(folder)
    if folder is None or snapshot is None:
        return 0, _Kept({}, None)
    if not (folder / BEST).is_file() or not (folder / SCORES).is_file():
        return snapshot.step, _Kept({}, None)
    stored = json.loads((folder / SCORES).read_text("utf-8"))
    return snapshot.step, _Kept({int(step): value for step, value in stored.items()}, load(folder / BEST))


def build(prepared: Prepared, config: TrainConfig, seed: int) -> Wrapped:
    """An untrained denoiser for these windows."""
    shape = prepared.shape
    conditional = config.kind != "tsdiff"
    flow = config.kind == "tsflow"
    with seeded(seed):
        net = Backbone(
            1 if conditional else shape.channels,
            hidden=config.hidden,
            blocks=config.blocks,
            states=config.states,
            features=feature_count(shape) if conditional else 0,
            init_skip=config.init_skip,
            dropout=config.dropout,
            time_scale=float(config.diffusion_steps) if flow else 1.0,
        )
    process: Any
    if flow:
        process = process_of(shape, config.flow, prepared.season)
    else:
        process = LinearBetas(config.diffusion_steps, config.beta_first, config.beta_last)
    std = data_std(prepared.samples(MEASURED, MEASURING_SEED).x0)
    return wrap(net, process, predicts="flow" if flow else "eps", data_std=std)


def default_sampling(config: TrainConfig) -> SampleConfig:
    """How a model of this kind is sampled when nothing else is known."""
    match config.kind:
        case "tsflow":
            return SampleConfig(sampler="euler", guidance="none")
        case "tsdiff-cond":
            return SampleConfig(sampler="ddpm", guidance="none")
    return SampleConfig(sampler="ddim")


def validate(
    model: SeriesModel, prepared: Prepared, config: TrainConfig, *, progress: Progress = silent
) -> float:
    """Mean weighted quantile loss of the model's forecasts of the validation instances."""
    sampling = model.sampling.model_copy(update={"num_samples": config.validation_samples})
    found = forecast(model, [item.series for item in prepared.validation], sampling, progress=progress)
    value = score(found.forecasts, prepared.validation, season=prepared.season).mean_wql
    return float("nan") if value is None else value


def _stops(config: TrainConfig) -> list[int]:
    every = config.validate_every
    if every is None or every >= config.steps:
        return [config.steps]
    return [*range(every, config.steps, every), config.steps]


def _settings(config: TrainConfig, steps: int) -> FitConfig:
    return FitConfig(
        steps=steps,
        batch=config.batch,
        lr=config.lr,
        schedule=config.schedule,
        warmup=config.warmup,
        clip=config.clip,
        ema=EMA(config.ema) if config.ema else None,
        every_steps=max(1, min(1000, config.steps // 4)),
        log_every=max(1, config.steps // 200),
    )


def _scored(checkpoint: Checkpoint, scores: dict[int, float]) -> Checkpoint:
    training = dict(checkpoint.training)
    validation = {str(step): round(value, 6) for step, value in scores.items()}
    training["series"] = {**training["series"], "validation_mean_wql": validation}
    return replace(checkpoint, training=training)
