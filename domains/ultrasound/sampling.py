"""Frames drawn from a prior, and what a search for better ones may look for.

    verifier   score of a frame, higher is better
    speckle    -|mean / std - 1.91|, median over the brighter half of windows of 8 x 8 envelope samples
    cavity     median level above that of the darkest tenth, dB: a cavity in tissue
    bright     mean level below full scale, dB

Fully developed speckle has a Rayleigh envelope, mean / std 1.91. Source: Burckhardt 1978, IEEE Trans. Sonics
Ultrason. 25(1), eq. 9.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.infer.search import Found, Search, Verifier, search
from core.plan import Plan, ddim, default, karras
from core.run import sample
from core.state import Seeds
from domains.ultrasound.companding import expand_channels, from_channels
from domains.ultrasound.prior import Prior

__all__ = ["VERIFIERS", "Drawn", "draw_frames", "plan_of"]

RAYLEIGH, WINDOW = 1.913, 8


def envelope(x: Tensor) -> Tensor:
    """Linear envelopes (B, sample, line) of companded channels (B, C, sample, line)."""
    return from_channels(expand_channels(x)).abs()


def speckle(x: Tensor) -> Tensor:
    """See the module."""
    windows = torch.nn.functional.unfold(envelope(x)[:, None], WINDOW, stride=WINDOW)  # (B, 64, windows)
    mean, std = windows.mean(1), windows.std(1).clamp_min(1e-12)
    bright = mean >= mean.median(1, keepdim=True).values
    return -((mean / std).masked_fill(~bright, torch.nan).nanmedian(1).values - RAYLEIGH).abs()


def cavity(x: Tensor) -> Tensor:
    """See the module."""
    size = envelope(x).flatten(1).clamp_min(1e-6)
    return 20 * (size.quantile(0.5, dim=1) / size.quantile(0.1, dim=1)).log10()


def bright(x: Tensor) -> Tensor:
    """See the module."""
    return 20 * envelope(x).flatten(1).clamp_min(1e-6).log10().mean(1)


VERIFIERS: dict[str, Verifier] = {"speckle": speckle, "cavity": cavity, "bright": bright}


@dataclass(frozen=True)
class Drawn:
    """Frames of a prior.

    Attributes:
        lines: (n, sample, line), complex IQ or real RF, full scale 1.
        scores: every verifier's score of each frame, (n,).
        calls: evaluations of the network per frame.
        found: the search, or None.
    """

    lines: Tensor
    scores: dict[str, Tensor]
    calls: int
    found: Found | None


def plan_of(prior: Prior, steps: int, settings: Search | None) -> Plan:
    """The default plan; DDIM for a search over paths, which needs rows that read no history."""
    process = prior.denoiser.process
    if settings is not None and settings.method == "paths":
        return ddim(process, karras(process, steps))
    return default(process, steps, data_std=prior.denoiser.data_std)


def draw_frames(
    prior: Prior,
    n: int,
    shape: tuple[int, int],
    *,
    steps: int = 20,
    seed: int = 0,
    settings: Search | None = None,
    verifiers: list[Verifier] | None = None,
    second: Verifier | None = None,
) -> Drawn:
    """Draw frames, each on its own stream: frame i is the same whatever n is, with or without neighbours.

    Args:
        shape: samples and lines.
        settings: a search for frames that the verifiers like, one per frame.
    """
    plan, device = plan_of(prior, steps, settings), next(prior.denoiser.parameters()).device
    channels = 2 if prior.domain == "iq" else 1
    prior.denoiser.eval()
    frames, found = [], None
    for index in range(n):
        like = torch.zeros(1, channels, *shape, device=device)
        if settings is None:
            seeds = Seeds([seed + index])
            start = prior.denoiser.process.prior(like, seeds, plan.start)
            frames.append(sample(plan, prior.denoiser, start, seeds))
            continue
        gen = torch.Generator().manual_seed(seed + index)
        found = search(settings, plan, prior.denoiser, like, gen, verifiers or [], second=second)
        frames.append(found.x)
    x = torch.cat(frames).cpu()
    calls = plan.evaluations if found is None else found.calls
    scores = {name: verifier(x) for name, verifier in VERIFIERS.items()}
    return Drawn(from_channels(expand_channels(x)), scores, calls, found)
