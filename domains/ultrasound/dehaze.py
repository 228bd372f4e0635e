"""Dehazing by joint posterior sampling: y = x + gamma h, tissue x and haze h each with a prior of its own.

The state is the pair of companded channel tensors {"tissue", "haze"} under a product of variance-exploding
processes. Two priors that never met in training are joined (`steer.Joint`), tied to the measurement by one of
four consistency rules (`steer.consistency`) with the forward map

    f(x, h) = C(C^-1(x) + gamma C^-1(h)),        C the companding of `companding.py`,

and run by the core's executor on a plan of log-spaced noise levels. Sampling starts from the measurement
itself, x = h = C(y) + sigma z, not from pure noise.

Source: Stevens, Meral, Yu, Apostolakis, Robert & van Sloun 2024, IEEE TMI 43(10) 3546-3558, section III.
Deviations: IQ by default; EDM-preconditioned denoisers and log-spaced levels in place of an NCSN with
Euler-Maruyama steps; whole frames or Hann-blended patches in place of overwritten ones (which remain, as
`interleave="overwrite"`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from core.denoise import Denoiser
from core.errors import ConfigError, DataError, NumericalError
from core.plan import Plan, ddim, log
from core.process import Karras, Product
from core.progress import Progress, silent
from core.run import steps
from core.state import Seeds
from core.steer import Joint, Measurement, steered
from domains.ultrasound.companding import (
    compand_channels,
    expand_channels,
    from_channels,
    normalise,
    to_channels,
)
from domains.ultrasound.config import DehazeConfig
from domains.ultrasound.prior import Prior, check_range
from domains.ultrasound.tiles import Tiled

__all__ = ["Dehazed", "Mixing", "dehaze", "plan_of"]

# A state whose norm grows tenfold has left the range of the priors and will not come back.
DIVERGED = 10.0


@dataclass(frozen=True)
class Dehazed:
    """What was found in each frame, in the units of the input.

    Attributes:
        tissue: (frame, sample, line), complex IQ or real RF; the mean over samples.
        haze: gamma h, like tissue.
        std_db: standard deviation over posterior samples of the level of the tissue, dB, levels clipped 60 dB
            below the peak of the input frame, (frame, sample, line); None for a single sample.
        residual: |y - x - gamma h| / |y| of each frame, (frame,).
        network_calls: calls of each prior, per frame and sample.
    """

    tissue: Tensor
    haze: Tensor
    std_db: Tensor | None
    residual: Tensor
    network_calls: int


@dataclass(frozen=True)
class Mixing:
    """The forward map f(x, h) = C(C^-1(x) + gamma C^-1(h)) of companded channels (B, C, sample, line)."""

    gamma: float

    def __call__(self, state: Mapping[str, Tensor]) -> Tensor:
        return compand_channels(
            expand_channels(state["tissue"]) + self.gamma * expand_channels(state["haze"])
        )


def plan_of(config: DehazeConfig) -> Plan:
    """The sampling plan: `steps` levels equal in log sigma from start to end, then the clean estimate."""
    if not config.end_sigma < config.start_sigma:
        raise ConfigError(f"start_sigma {config.start_sigma} must exceed end_sigma {config.end_sigma}.")
    part = Karras(config.end_sigma, config.start_sigma)
    return ddim(Product({"tissue": part, "haze": part}), log(part, config.steps), eta=config.eta)


def dehaze(
    lines: Tensor,
    tissue: Prior,
    haze: Prior,
    config: DehazeConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Dehazed:
    """Separate tissue from haze.

    Args:
        lines: (frame, sample, line), complex IQ or real RF, linear, any scale: each frame is normalised and
            restored.
        tissue, haze: priors of the same domain as the lines.
        config: strength, rule, steps, samples.
        seed: same seed, same output. All frames share their noise unless `config.independent_noise`; the
            result does not depend on `config.batch`, but for rounding on a GPU.

    Raises:
        DataError: frames smaller than 16 x 16.
        ConfigError: the first noise level lies outside what a prior was trained at.
        NumericalError: a state diverged; names the step and the rule.
    """
    for prior in (tissue, haze):
        check_range(prior, config.start_sigma)
    if min(lines.shape[1:]) < 16:
        raise DataError(f"frames must be at least 16 x 16, got {tuple(lines.shape[1:])}.")
    scaled, peak = normalise(lines)
    plan = plan_of(config)
    jobs = [(frame, draw) for frame in range(len(lines)) for draw in range(config.samples)]
    # A CPU gains nothing from batches; one frame at a time, its rounding cannot depend on the other frames.
    together = 1 if torch.device(device).type == "cpu" else config.batch
    found_x: list[Tensor] = []
    found_h: list[Tensor] = []
    for first in range(0, len(jobs), together):
        some = jobs[first : first + together]
        y = _padded(compand_channels(to_channels(scaled[[frame for frame, _ in some]])), tissue.patch).to(
            device
        )
        seeds = Seeds([_seed(seed, frame, draw, config) for frame, draw in some])

        def report(step: int, first: int = first, size: int = len(some)) -> None:
            total = len(jobs) * plan.evaluations
            progress(
                "dehaze",
                first * plan.evaluations + step * size,
                total,
                f"frame {first // config.samples + 1}",
            )

        state = _sample(y, tissue, haze, config, plan, seeds, report)
        cut = lines.shape[1:]
        found_x.append(expand_channels(state["tissue"])[..., : cut[0], : cut[1]].cpu())
        found_h.append(config.gamma * expand_channels(state["haze"])[..., : cut[0], : cut[1]].cpu())
    shape = (len(lines), config.samples)
    x, h = (from_channels(torch.cat(found)).unflatten(0, shape) for found in (found_x, found_h))
    levels = 20 * x.abs().clamp_min(1e-3).log10()
    mean_x, mean_h = x.mean(1), h.mean(1)
    gap = (scaled - mean_x - mean_h).abs().square().sum((1, 2)).sqrt()
    return Dehazed(
        tissue=mean_x * peak,
        haze=mean_h * peak,
        std_db=levels.std(1) if config.samples > 1 else None,
        residual=gap / scaled.abs().square().sum((1, 2)).sqrt(),
        network_calls=plan.evaluations,
    )


def _sample(
    y: Tensor,
    tissue: Prior,
    haze: Prior,
    config: DehazeConfig,
    plan: Plan,
    seeds: Seeds,
    report: Callable[[int], None],
) -> dict[str, Tensor]:
    """Run the plan for companded measurements y (B, C, sample, line); returns the pair of clean states."""
    joint = Joint({"tissue": _covering(tissue, config), "haze": _covering(haze, config)})
    noise = joint.process.parts["tissue"].space.noise(y, seeds)
    measured = Measurement(
        y,
        Mixing(config.gamma),
        config.weights,
        clip=2.0 if config.consistency == "projection" else 1.0,
    )
    model = steered(config.consistency, joint, measured, plan, noise=noise)
    start = y + config.start_sigma * noise
    state: dict[str, Tensor] = {"tissue": start, "haze": start}
    limit = DIVERGED * start.flatten(1).norm(dim=1)
    with torch.no_grad():
        for step in steps(plan, model, state, seeds):
            state = step.next
            norm = torch.stack([part.flatten(1).norm(dim=1) for part in state.values()]).amax(0)
            if not bool((norm <= limit).all()):
                raise NumericalError(
                    f"the state diverged at step {step.number + 1} of {config.steps} "
                    f"(rule '{config.consistency}', norm {float(norm.max()):.3g}).",
                    hint="Lower --weight-tissue and --weight-haze, or use the rule 'projection'.",
                )
            report(step.number + 1)
    return state


def _covering(prior: Prior, config: DehazeConfig) -> Denoiser:
    """The prior over whole frames: directly, or patch by patch."""
    if config.interleave == "whole":
        return prior.denoiser
    return Tiled(prior.denoiser, prior.patch, overlap=config.overlap, blend=config.interleave)


def _padded(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """Reflect frames smaller than a patch up to its size, at their far ends."""
    rows, cols = (max(0, want - have) for want, have in zip(patch, x.shape[-2:], strict=True))
    while rows or cols:
        now = (min(rows, x.shape[-2] - 1), min(cols, x.shape[-1] - 1))
        x = F.pad(x, (0, now[1], 0, now[0]), mode="reflect")
        rows, cols = rows - now[0], cols - now[1]
    return x


def _seed(seed: int, frame: int, draw: int, config: DehazeConfig) -> int:
    return seed + 1_000_003 * draw + (7_919 * frame if config.independent_noise else 0)
