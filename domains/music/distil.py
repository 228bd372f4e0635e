"""The recipe that makes a student of a song model: a flow map, one call where the teacher needs many.

    student    starts as the teacher, with two clocks more: where a jump ends, and the weight of guidance
    teacher    guided by a weight drawn per song from [low, high], at each step of its grid
    loss       `core.train.distil`: consistency or trajectory; and beside it the loss that trains a model of
               songs, told no jump and the weight 1, where the map is the flow of the data

Songs are told what they are told while a model is trained, without dropout in the first part: crops, with
context for the share of samples that has it.

Sources: Kim et al. 2024 (CTM), arXiv:2310.02279; Novack et al. 2024 (DITTO-2), arXiv:2405.20289. Deviation:
the core's loss of the flow would tell the drawn weight, for which the data are no target; it is left out.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.denoise import Denoiser, Posterior, wrap
from core.errors import ConfigError, DataError
from core.process import RectifiedFlow
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source, batch_size
from core.train import EMA, Batch, Consistency, FitConfig, Trajectory, fit
from domains.music.conditions import hiding, masked
from domains.music.config import DistilConfig, Sampling
from domains.music.dit import SongDiT
from domains.music.generation import times_for
from domains.music.model import ROLE, SongModel, card_of, model_of, save_model
from domains.music.songs import Song
from domains.music.training import SongLoss, samples_of
from domains.music.training import loss_of as song_loss

__all__ = ["GuidedTeacher", "Told", "distil", "student_of"]


@dataclass(frozen=True)
class GuidedTeacher:
    """A teacher guided by the weight each song is told: D_0 + w (D - D_0), both on one doubled batch."""

    denoiser: Denoiser

    @property
    def process(self) -> Any:
        return self.denoiser.process

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        count = batch_size(x)
        weight = cond["weight"].to(x.dtype)[:, None, None]
        told = {name: value for name, value in cond.items() if name not in ("weight", "to")}
        yes = {f"has_{name}": x.new_ones(count, dtype=torch.bool) for name in ("lyrics", "style", "context")}
        null = hiding(told, lyrics=True, style=True, context=True, count=count)
        both = {name: torch.cat([value, null.get(name, value)]) for name, value in {**yes, **told}.items()}
        times = torch.cat([t, t]) if isinstance(t, Tensor) and t.ndim else t
        mean, plain = self.denoiser(torch.cat([x, x]), times, both).mean.chunk(2)
        return Posterior(mean=torch.lerp(plain, mean, weight))


@dataclass(frozen=True)
class Told:
    """Draws the context of each song before a loss of the core sees the batch, and adds the loss of the flow.

    Args:
        loss: `Consistency` or `Trajectory`; a mean over frames that exist and are not given.
        plain: the loss that trains a model of songs.
        flow: its weight.
        target: the network that `fit` keeps at the running average.
    """

    loss: Any
    plain: SongLoss
    flow: float
    target: nn.Module = field(repr=False)

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        x0, cond = batch.x0, dict(batch.cond)
        keep = masked(cond["valid"].sum(1), x0.shape[-1], self.plain.stems, self.plain.spans, gen)
        far = self.loss(denoiser, Batch(x0, {**cond, "context": x0, "keep": keep}), gen)
        return far + self.flow * self.plain(denoiser, batch, gen) if self.flow else far


def counted(stems: int, channels: int) -> Callable[[Any], Tensor]:
    """Which entries of the latents a loss counts, (B, C, L): frames that exist and are not given."""

    def valid(cond: Any) -> Tensor:
        hidden = 1 - cond["keep"]
        return hidden.repeat_interleave(channels // stems, 1) * cond["valid"][:, None]

    return valid


def student_of(teacher: SongModel, *, seed: int = 0) -> SongDiT:
    """A student with the teacher's weights; its own two clocks begin silent, so that it is the teacher.

    Args:
        seed: of the first layers of the two clocks.
    """
    with seeded(seed):
        net = SongDiT(**{**teacher.net.config, "student": True})
    missing, extra = net.load_state_dict(teacher.net.state_dict(), strict=False)
    if extra or any(not name.startswith(("ends.", "stress.")) for name in missing):
        raise ConfigError(
            f"the teacher does not fit its student: {sorted(missing)[:3]}, {sorted(extra)[:3]}."
        )
    return net


def distil(
    teacher: SongModel,
    songs: Sequence[Song],
    config: DistilConfig,
    *,
    split: str | None = "train",
    steps: int = 4,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    preset: str | None = None,
    progress: Progress = silent,
) -> SongModel:
    """Make a student.

    Args:
        teacher: a trained model of songs.
        songs: as for training; tags must be those of the teacher.
        config: kind of loss, grid, schedule.
        split: which of the songs; None takes all.
        steps: jumps that the student takes by default.
        folder: receives snapshots, log, `model.safetensors` and `card.json`.

    Raises:
        ConfigError: the teacher is a student itself.
        DataError: no song.
    """
    if teacher.student:
        raise ConfigError("this model is a student already.", hint="Distil the model it came from.")
    chosen = [song for song in songs if split is None or song.split == split]
    if not chosen:
        raise DataError(f"none of the {len(songs)} songs is in the split '{split}'.")
    device, process = teacher.device, RectifiedFlow()
    student = wrap(student_of(teacher, seed=seed).to(device), process, predicts="flow")
    target = copy.deepcopy(student).eval().requires_grad_(False)
    settings = teacher.config
    cropped = settings.model_copy(update={"crop": min(config.crop or settings.crop, settings.crop)})
    sampling = Sampling(steps=steps, lyrics=settings.sampling.style, style=settings.sampling.style)
    card: dict[str, Any] = {
        **card_of(settings.model_copy(update={"sampling": sampling}), teacher.vocabulary),
        "songs": len(chosen),
        "frames": sum(song.frames for song in chosen),
        "distilled": config.model_dump(mode="json"),
        "teacher_steps": teacher.checkpoint.training.get("steps"),
    }
    checkpoint = fit(
        loss_of(teacher, target, config),
        student,
        samples_of(chosen, cropped, teacher.tags if teacher.vocabulary else None),
        fit_config(config),
        seed=seed,
        folder=folder,
        resume=resume,
        card={"role": ROLE, "preset": preset, "net": vars(student.net)["config"], "training": {"song": card}},
        stage="distil",
        progress=progress,
    )
    model = model_of(checkpoint)
    if folder is not None:
        save_model(model, folder)
    model.denoiser.to(device)
    return model


def loss_of(teacher: SongModel, target: nn.Module, config: DistilConfig) -> Told:
    """The objective of a recipe."""
    times = tuple(times_for(config.grid))

    def prepare(cond: Mapping[str, Any], u: Tensor) -> dict[str, Any]:
        weight = config.low + (config.high - config.low) * u
        return {**cond, "weight": weight.to(cond["start"].dtype)}

    shared: dict[str, Any] = {
        "teacher": GuidedTeacher(teacher.denoiser),
        "target": target,
        "times": times,
        "solver": config.solver,
        "huber": config.huber,
        "prepare": prepare,
        "valid": counted(teacher.net.stems, teacher.channels),
    }
    loss = Consistency(**shared) if config.kind == "consistency" else Trajectory(**shared, flow=0.0)
    return Told(loss, song_loss(teacher.config, teacher.device), config.flow, target)


def fit_config(config: DistilConfig) -> FitConfig:
    """The settings of the core's loop."""
    return FitConfig(
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        optimizer="adamw",
        warmup=min(config.warmup, config.steps),
        clip=config.clip,
        ema=EMA(config.ema),
        every_steps=None,
        every_seconds=300.0,
        log_every=max(config.steps // 500, 1),
    )
