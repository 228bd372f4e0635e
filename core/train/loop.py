"""The one training loop: resumable bit for bit, averaged weights, on one process or several.

    for step in range(done, steps):
        numbers  = step B .. (step + 1) B - 1             their data and noise are functions of (seed, number)
        loss     = mean of objective(denoiser, batch, noise)
        weights <- Adam(clip(gradient), rate(step))
        average <- beta weights + (1 - beta) average

Nothing about a step depends on how the run got there, apart from weights, average and moments, and those are
what a snapshot holds. A run that is killed at any moment and resumed therefore ends with the same bits as one
that was not (on a CPU, or on a GPU with deterministic algorithms; on the same number of processes).

A run folder holds `step-*.safetensors` (snapshots), `log.jsonl` (one line per logged step) and, at the end,
`model.safetensors`.
"""

import importlib.metadata
import json
import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.denoise import Wrapped
from core.device import bare
from core.errors import ConfigError, NumericalError
from core.process import to_record
from core.progress import Progress, silent
from core.seeded import seeded
from core.train.checkpoint import Checkpoint, Snapshot, newest_snapshot, save, save_snapshot
from core.train.config import FitConfig, rate
from core.train.distributed import Parallel, like, mean, own_part, place, spread, whole
from core.train.ema import averaged
from core.train.log import RunLog
from core.train.objective import Objective
from core.train.samples import Batch, Samples, mixed_seed, seeds_of

__all__ = ["fit"]

FREE = {
    "every_steps",
    "every_seconds",
    "keep",
    "log_every",
    "micro_batches",
}  # do not change what is computed
TRAIL = 50  # losses behind the figure that is shown and stored


def fit(
    objective: Objective,
    denoiser: nn.Module,
    data: Samples,
    config: FitConfig,
    *,
    seed: int,
    folder: Path | None = None,
    resume: bool = False,
    card: Mapping[str, Any] | None = None,
    parallel: Parallel = "ddp",
    stage: str = "train",
    progress: Progress = silent,
) -> Checkpoint:
    """Train a denoiser's network, in place, and return what to sample from.

    Args:
        objective: gives the loss per sample, (B,). Where it has a module under `target`, that module is
            given the running average of the weights before every step.
        denoiser: a `Wrapped` network, or any module with a `process` that the objective can call. What is
            trained and stored is its `net`, or all of it where it has none. Its weights end as the last ones,
            not the average.
        data: the samples by number.
        config: steps, batch, rates.
        seed: of data order, augmentation, noise and dropout.
        folder: where snapshots, the log and the model go; None writes nothing.
        resume: go on from the newest snapshot in `folder`; from the start where there is none.
        card: entries of the checkpoint that training does not know: role, preset, net, v0, and training,
            whose entries are added to what is known.
        parallel: how weights are spread when the program runs in a `distributed.group()`.
        stage: what the progress line calls this.
        progress: told after every step.

    Raises:
        ConfigError: the folder holds another run, or the snapshot was made with other settings.
        NumericalError: the loss or the gradient is not finite. Nothing of that step is kept.
    """
    settings = _settings(objective, config, seed)
    snapshot = _start(folder, resume, settings)
    process_record = to_record(denoiser.process)
    denoiser = spread(denoiser.train(), parallel)
    run = _Run(denoiser, config, snapshot)
    target = _target(objective, config)
    saved_at, last_good = time.monotonic(), _name(snapshot)
    device = next(run.net.parameters()).device
    with closing(RunLog(folder if place().rank == 0 else None, run.step)) as log:
        while run.step < config.steps:
            step, lr = run.step, rate(config, run.step)
            if target is not None:
                target.load_state_dict(run.sampled())
            loss = run.gradients(objective, denoiser, data, seed, device)
            late = config.every_seconds is not None and time.monotonic() - saved_at >= config.every_seconds
            due = torch.tensor(float(late and place().rank == 0), device=device, dtype=torch.float64)
            loss, due = mean(torch.stack([loss.to(torch.float64), due])).tolist()
            norm = run.clip()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise NumericalError(
                    f"the loss is {loss:g} and its gradient's norm {norm:g} at step {step + 1} "
                    f"(learning rate {lr:.3g}); the last good snapshot is {last_good}.",
                    hint="Lower lr, lengthen warmup, or look for values in the data that are not finite.",
                )
            run.update(lr, loss)
            if run.step % config.log_every == 0 or run.step == config.steps:
                log.write({"step": run.step, "loss": loss, "lr": lr, "grad_norm": norm})
            regular = config.every_steps is not None and run.step % config.every_steps == 0
            if folder is not None and (regular or due > 0 or run.step == config.steps):
                state = run.snapshot(settings)
                if place().rank == 0:
                    save_snapshot(folder, state, keep=config.keep)
                saved_at, last_good = time.monotonic(), _name(state)
            if place().rank == 0:
                progress(stage, run.step, config.steps, f"loss {run.shown:.4g}")
    checkpoint = _checkpoint(run, denoiser, process_record, settings, card or {})
    if folder is not None and place().rank == 0:
        save(folder / "model.safetensors", checkpoint)
    return checkpoint


class _Run:
    """Weights, average and moments at a step boundary."""

    def __init__(self, denoiser: nn.Module, config: FitConfig, snapshot: Snapshot | None) -> None:
        self.config = config
        self.net = bare(getattr(denoiser, "net", denoiser))
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = kind(
            self.net.parameters(), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self.step = 0
        self.trail = torch.zeros(0, dtype=torch.float64)
        if snapshot is not None:
            self._restore(snapshot)
        elif config.ema is not None:
            self.average = {name: value.clone() for name, value in self.net.state_dict().items()}

    def gradients(
        self, objective: Objective, denoiser: nn.Module, data: Samples, seed: int, device: torch.device
    ) -> Tensor:
        """Accumulate the gradient of this step's mean loss; returns the loss of this process's samples."""
        self.optimizer.zero_grad(set_to_none=True)
        batch = self.config.batch
        numbers = own_part(range(self.step * batch, (self.step + 1) * batch))
        total = torch.zeros((), device=device)
        with seeded(mixed_seed(seed, "network", self.step, place().rank), device):
            for part in _pieces(numbers, self.config.micro_batches):
                x0, cond = data(part, seed)
                noise = seeds_of(part, seed, "noise", device)
                loss = objective(denoiser, Batch(_moved(x0, device), _moved(cond, device)), noise)
                share = loss.sum() / len(numbers)
                share.backward()
                total = total + share.detach()
        return total

    def clip(self) -> float:
        """Limit the gradient; returns its norm before."""
        limit = self.config.clip if self.config.clip is not None else math.inf
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), limit)
        return float(whole({"norm": norm})["norm"])

    def update(self, lr: float, loss: float) -> None:
        """Take the step."""
        for entry in self.optimizer.param_groups:
            entry["lr"] = lr
        self.optimizer.step()
        self.step += 1
        self.trail = torch.cat([self.trail, torch.tensor([loss], dtype=torch.float64)])[-TRAIL:]
        if self.config.ema is not None:
            self.average = averaged(self.average, self.net.state_dict(), self.config.ema.beta(self.step))

    @property
    def shown(self) -> float:
        """Mean loss of the last 50 steps."""
        return float(self.trail.mean())

    def sampled(self) -> dict[str, Tensor]:
        """The weights to sample from, whole. Every process must call this."""
        return whole(self.average if self.config.ema is not None else self.net.state_dict())

    def snapshot(self, settings: Mapping[str, Any]) -> Snapshot:
        """Everything a run resumes from. Every process must call this."""
        tensors = {f"weights/{name}": value for name, value in self.net.state_dict().items()}
        if self.config.ema is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for name, parameter in self.net.named_parameters():
            moments = self.optimizer.state[parameter]
            tensors |= {f"optimizer/{key}/{name}": value for key, value in moments.items()}
        return Snapshot(self.step, {**whole(tensors), "trail": self.trail}, settings)

    def _restore(self, snapshot: Snapshot) -> None:
        stored = snapshot.tensors
        self.step, self.trail = snapshot.step, stored["trail"]
        own = self.net.state_dict()
        self.net.load_state_dict(
            {name: like(stored[f"weights/{name}"], value) for name, value in own.items()}
        )
        if self.config.ema is not None:
            self.average = {name: like(stored[f"average/{name}"], value) for name, value in own.items()}
        for name, parameter in self.net.named_parameters():
            if f"optimizer/step/{name}" not in stored:
                continue  # a weight that is not trained has no moments
            moments = {key: stored[f"optimizer/{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[parameter] = {
                "step": stored[f"optimizer/step/{name}"],
                **{key: like(value, parameter.detach()) for key, value in moments.items()},
            }


def _target(objective: Objective, config: FitConfig) -> nn.Module | None:
    """The network that an objective compares the trained one with: its running average."""
    denoiser = getattr(objective, "target", None)
    if denoiser is None:
        return None
    if config.ema is None:
        raise ConfigError(
            f"{type(objective).__name__} needs the running average of the weights.", hint="Set ema=EMA(...)."
        )
    return bare(getattr(denoiser, "net", denoiser)).eval().requires_grad_(False)


def _settings(objective: Objective, config: FitConfig, seed: int) -> dict[str, Any]:
    """What a resumed run must share, as JSON values."""
    record = asdict(config)
    record["ema"] = config.ema and {"kind": type(config.ema).__name__, **asdict(config.ema)}
    record["objective"] = repr(objective) if is_dataclass(objective) else ""
    return json.loads(json.dumps({**record, "seed": seed}))


def _start(folder: Path | None, resume: bool, settings: Mapping[str, Any]) -> Snapshot | None:
    if folder is None:
        if resume:
            raise ConfigError("a run without a folder cannot be resumed.")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if not resume:
        if any(folder.glob("step-*.safetensors")):
            raise ConfigError(f"{folder} holds another run.", hint="Resume it, or name another folder.")
        return None
    snapshot = newest_snapshot(folder)
    if snapshot is not None:
        free = FREE | ({"steps"} if settings["schedule"] != "cosine" else set())
        old = snapshot.settings
        changed = [k for k in settings if k not in free and old.get(k) != settings[k]]
        if changed:
            was = ", ".join(f"{k} was {old.get(k)}, now {settings[k]}" for k in changed)
            raise ConfigError(
                f"the run in {folder} had other settings: {was}.",
                hint="Resume with the same ones, or name another folder.",
            )
    return snapshot


def _checkpoint(
    run: _Run,
    denoiser: nn.Module,
    process: Mapping[str, Any],
    settings: Mapping[str, Any],
    card: Mapping[str, Any],
) -> Checkpoint:
    count = sum(p.numel() for p in run.net.parameters())
    training = {**settings, "parameters": count, "loss": run.shown, **card.get("training", {})}
    wrapped = denoiser if isinstance(denoiser, Wrapped) else None
    return Checkpoint(
        weights=run.sampled(),
        process=process,
        predicts=wrapped.predicts if wrapped else "x0",
        data_std=wrapped.data_std if wrapped else float(getattr(denoiser, "data_std", 1.0)),
        role=card.get("role", ""),
        net=card.get("net", getattr(run.net, "config", {})),
        preset=card.get("preset"),
        v0=card.get("v0", 0.0),
        version=_version(),
        training=training,
    )


def _version() -> str:
    try:
        return importlib.metadata.version("suffuse")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _name(snapshot: Snapshot | None) -> str:
    return f"that of step {snapshot.step}" if snapshot else "none"


def _pieces(numbers: range, count: int) -> list[range]:
    if len(numbers) % count:
        raise ConfigError(f"{len(numbers)} samples per process do not divide into {count} micro-batches.")
    size = len(numbers) // count
    return [numbers[i * size : (i + 1) * size] for i in range(count)]


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {key: _moved(part, device) for key, part in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
