"""Dehazing of pictures by any of six methods, all on levels (F, H, W) in [-1, 1].

| name        | what is removed                                  | what it cannot do                     |
| ----------- | ------------------------------------------------ | ------------------------------------- |
| `none`      | nothing: the yardstick                           |                                       |
| `threshold` | k medians of brightness, per frame               | change gCNR: a pointwise curve        |
| `svd`       | the leading components over frames               | spare tissue that stands still        |
| `rpca`      | the low-rank part of principal component pursuit | the same, and keep faint tissue       |
| `nuclear`   | a low-rank part that a prior of pictures rejects | haze that moves                       |
| `semantic`  | what a prior rejects, where it is not trusted    | find the ventricle: regions are given |

Brightness is (level + 1) / 2. Haze is the input minus the output for the baselines and for `semantic`, the
low-rank part for `nuclear`, which therefore leaves a residual. Pixels that are black in every frame stay so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, NumericalError, unknown
from core.plan import Plan, ddim, log
from core.progress import Progress, silent
from core.run import steps
from core.state import Euclidean, Seeds, leaves
from core.steer import Steered
from domains.ultrasound.baselines import svd
from domains.ultrasound.config import VideoConfig
from domains.ultrasound.video.masks import keep_bottom, outside, trust
from domains.ultrasound.video.nuclear import PerFrame, SharedNoise, nuclear, nuclear_plan
from domains.ultrasound.video.prior import PicturePrior, check_start
from domains.ultrasound.video.rpca import pursue
from domains.ultrasound.video.semantic import semantic

__all__ = ["METHODS", "PRIOR_METHODS", "Dehazed", "calls_of", "check_method", "dehaze_cine", "start_of"]

Array = np.ndarray[Any, np.dtype[Any]]

METHODS = ("none", "threshold", "svd", "rpca", "nuclear", "semantic")
PRIOR_METHODS = ("nuclear", "semantic")
# Step 4500 of the published cosine-type schedule of 5000 (signal rates .95 to .02) has sigma / alpha = .472.
NUCLEAR_START = 0.472
DIVERGED = 10.0


@dataclass(frozen=True)
class Dehazed:
    """What was found in each frame, levels.

    Attributes:
        clean: (F, H, W), in [-1, 1].
        haze: brightness that was taken for haze, in units of levels (0 to 2 for a visible haze), (F, H, W).
        residual: |y - clean - haze| / |y + 1| of each frame, (F,).
        network_calls: calls of the prior per frame.
    """

    clean: Tensor
    haze: Tensor
    residual: Tensor
    network_calls: int


def check_method(method: str, frames: int, prior: PicturePrior | None, config: VideoConfig) -> None:
    """Refuse what cannot run, before anything is computed.

    Raises:
        ConfigError: unknown method, no prior where one is needed, too few frames, or a wrong noise level.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if method in PRIOR_METHODS:
        if prior is None:
            raise ConfigError(
                f"method '{method}' needs a prior of pictures.",
                hint="Train one: suffuse ultrasound train bmode -o prior.safetensors, and pass --prior.",
            )
        start = start_of(method, prior, config)
        check_start(prior, start)
        if not config.end_sigma < start:
            raise ConfigError(f"start_sigma {start} must exceed end_sigma {config.end_sigma}.")
    needed = {"svd": config.svd_k + 1, "rpca": 2, "nuclear": 2}.get(method, 1)
    if frames < needed:
        raise ConfigError(
            f"method '{method}' needs at least {needed} frames, the input has {frames}.",
            hint="Give a cine, or use semantic or threshold for single pictures.",
        )


def start_of(method: str, prior: PicturePrior, config: VideoConfig) -> float:
    """The first noise level: the setting, else the published late start or the largest level trained at."""
    if config.start_sigma is not None:
        return config.start_sigma
    return min(NUCLEAR_START, prior.sigmas[1]) if method == "nuclear" else prior.sigmas[1]


def calls_of(method: str, frames: int, config: VideoConfig) -> int:
    """Calls of the prior for all frames together."""
    if method not in PRIOR_METHODS:
        return 0
    if method == "semantic":
        return config.steps * frames
    return config.steps * sum(stop - first for first, stop in windows_of(frames, config.window))


def dehaze_cine(
    levels: Array,
    method: str,
    config: VideoConfig,
    *,
    prior: PicturePrior | None = None,
    regions: Mapping[str, Array] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Dehazed:
    """Separate pictures from haze.

    Args:
        levels: (F, H, W), in [-1, 1].
        method: one of METHODS.
        prior: of pictures, for `nuclear` and `semantic`.
        regions: masks by name, for `semantic`; see `masks.trust`.
        seed: same seed, same output; frames share their noise unless `config.independent_noise`.

    Raises:
        ConfigError: see `check_method`.
        NumericalError: a state diverged; names the step and the method.
    """
    check_method(method, len(levels), prior, config)
    y = torch.from_numpy(np.array(levels, dtype=np.float32))
    calls = 0
    haze: Tensor | None = None
    match method:
        case "none":
            clean = y.clone()
        case "threshold":
            bright = (y + 1) / 2
            lit = torch.where(outside(y), torch.nan, bright).flatten(1)
            floor = config.threshold_k * lit.nanmedian(dim=1).values.nan_to_num()[:, None, None]
            clean = 2 * (bright - floor).clamp_min(0) - 1
        case "svd":
            clean = torch.from_numpy(svd(y.numpy() + 1, k=config.svd_k)) - 1
        case "rpca":
            clean = pursue((y + 1).flatten(1), lam=config.rpca_lam).sparse.reshape(y.shape) - 1
        case "nuclear":
            assert prior is not None
            clean, haze = _nuclear(y.to(device), prior, config, seed, progress)
            calls = config.steps
        case _:
            assert prior is not None
            clean = _semantic(y.to(device), prior, regions or {}, config, seed, progress)
            calls = config.steps
    clean = torch.where(outside(y), y, clean.cpu().clamp(-1, 1))
    haze = (y - clean) if haze is None else haze.cpu()
    gap = (y - clean - haze).flatten(1).norm(dim=1)
    return Dehazed(clean, haze, gap / (y + 1).flatten(1).norm(dim=1).clamp_min(1e-12), calls)


def windows_of(frames: int, size: int) -> list[tuple[int, int]]:
    """Windows (first, stop) that cover all frames; the last one is moved back to full size."""
    if frames <= size:
        return [(0, frames)]
    firsts = [*range(0, frames - size, size), frames - size]
    return [(first, first + size) for first in firsts]


def _nuclear(
    y: Tensor, prior: PicturePrior, config: VideoConfig, seed: int, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Frames and haze of every window; frames that two windows share are those of the first."""
    space = Euclidean() if config.independent_noise else SharedNoise()
    frames = PerFrame(prior.denoiser.to(y.device), space)
    start = start_of("nuclear", prior, config)
    windows = windows_of(len(y), config.window)
    found: list[Tensor] = []
    hazes: list[Tensor] = []
    for number, (first, stop) in enumerate(windows):
        part = y[None, first:stop]
        # The norm of a matrix grows with the root of its size; so does the threshold, which stays a level.
        gamma = config.mu * config.gamma * (part[0].numel()) ** 0.5
        rule = nuclear(frames, part, mu=config.mu, gamma=gamma, shrink=config.shrink)
        plan = nuclear_plan(rule.process, config.steps, start=start, end=config.end_sigma, eta=config.eta)
        seeds = Seeds([seed + (number if config.independent_noise else 0)])
        x, _ = rule.process.perturb({"frames": part, "haze": torch.zeros_like(part)}, plan.start, seeds)
        state = _walk(plan, rule, x, seeds, "nuclear", progress, number * plan.evaluations, len(windows))
        done = sum(len(piece) for piece in found)
        found.append(state["frames"][0, done - first :])
        hazes.append(state["haze"][0, done - first :])
    clean, haze = torch.cat(found), torch.cat(hazes)
    if config.keep_above is not None:
        clean = torch.where(y > config.keep_above, y, clean)
    return clean, haze


def _semantic(
    y: Tensor,
    prior: PicturePrior,
    regions: Mapping[str, Array],
    config: VideoConfig,
    seed: int,
    progress: Progress,
) -> Tensor:
    trusted = trust(y, regions, config)
    denoiser = prior.denoiser.to(y.device)
    process = denoiser.process
    start = start_of("semantic", prior, config)
    plan = ddim(process, log(process, config.steps, low=config.end_sigma, high=start), eta=config.eta)
    found = []
    firsts = range(0, len(y), config.batch)
    for number, first in enumerate(firsts):
        part = slice(first, first + config.batch)
        some = y[part, None]
        rule = semantic(
            denoiser,
            some,
            trusted.weights[part, None],
            trusted.haze[part, None],
            plan,
            penalty=config.penalty,
            beta=config.beta,
            guidance=config.guidance,
        )
        frames = range(first, first + len(some))
        seeds = Seeds([seed + (frame if config.independent_noise else 0) for frame in frames])
        x, _ = process.perturb(some, plan.start, seeds)
        state = _walk(plan, rule, x, seeds, "semantic", progress, number * plan.evaluations, len(firsts))
        found.append(state[:, 0])
    return keep_bottom(torch.cat(found), y, keep=config.keep_bottom, blend=config.blend_bottom)


def _walk(
    plan: Plan, rule: Steered, x: Any, seeds: Seeds, method: str, progress: Progress, done: int, parts: int
) -> Any:
    """Run a plan and stop as soon as a state has left what pictures can be."""
    limit = DIVERGED * max(float(leaf.norm()) for leaf in leaves(x))
    with torch.no_grad():
        for step in steps(plan, rule, x, seeds):
            x = step.next
            size = max(float(leaf.norm()) for leaf in leaves(x))
            if not size <= limit:
                raise NumericalError(
                    f"sampling diverged at step {step.number + 1} of {plan.evaluations} (method '{method}'): "
                    f"the norm of the state is {size:.3g}, its limit {limit:.3g}.",
                    hint="Lower --guidance or --mu, or take more steps.",
                )
            progress("dehaze", done + step.number + 1, parts * plan.evaluations, None)
    return x
