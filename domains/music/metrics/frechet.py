"""Frechet audio distances of embeddings or log-mel statistics, measured and in the limit of many clips.

The distance between two finite samples exceeds that of their laws by about b / n. It is computed at several
sizes and fitted by a + b / n; a is the limit.

    FAD-own   embeddings of this project's tagger, 128 numbers for 8 s
    FAD-mel   mean and deviation over time of each mel band, 128 numbers for 8 s

Sources: Kilgour et al. 2019 (FAD), arXiv:1812.08466; Chong & Forsyth 2020 (extrapolation), arXiv:1911.07023,
section 4; Gui et al. 2024 (for audio), arXiv:2311.01616, section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.metrics import frechet
from domains.music.frames import RATE
from domains.music.mel import at_rate, log_mel
from domains.music.metrics.interval import Estimate
from domains.music.tagger import Tagger

__all__ = ["Frechet", "clips", "frechet_limit", "frechet_of", "mel_statistics", "own_embeddings"]

CLIP_S, HOP_S = 8.0, 4.0
FEWEST = 6  # clips


@dataclass(frozen=True)
class Frechet:
    """A distance at the sizes used, with its interval over clips, and its limit (None below 6 clips)."""

    measured: Estimate
    limit: float | None


def clips(samples: Tensor, rate: int) -> list[Tensor]:
    """Pieces of 8 s every 4 s at 22,050 Hz, mono; a shorter recording is one piece."""
    wave = at_rate(samples, rate)
    size, hop = round(CLIP_S * RATE), round(HOP_S * RATE)
    starts = range(0, max(len(wave) - size, 0) + 1, hop)
    return [wave[start : start + size] for start in starts]


def own_embeddings(waves: Sequence[Tensor], rate: int, tagger: Tagger) -> Tensor:
    """The tagger's embedding of every clip of every wave, (n, 128)."""
    pieces = [piece for wave in waves for piece in clips(wave, rate)]
    return torch.stack([tagger.embed_audio(piece, RATE) for piece in pieces])


def mel_statistics(waves: Sequence[Tensor], rate: int) -> Tensor:
    """Mean and deviation over time of each mel band of every clip, (n, 128)."""
    rows = []
    for wave in waves:
        for piece in clips(wave, rate):
            mel = log_mel(piece)
            rows.append(torch.cat([mel.mean(-1), mel.std(-1)]))
    return torch.stack(rows)


def frechet_limit(x: Tensor, y: Tensor, *, sizes: int = 6, repeats: int = 4, seed: int = 0) -> float:
    """The distance of two samples extrapolated to infinitely many clips.

    Args:
        x, y: embeddings, (n, d) and (m, d).
        sizes: numbers of clips that are fitted, evenly spaced in 1 / n from a third of the smaller sample to
            all.
        repeats: subsamples at each size.
        seed: of the subsamples.

    Raises:
        ConfigError: a sample has fewer than 6 clips.
    """
    most = min(len(x), len(y))
    if most < FEWEST:
        raise ConfigError(f"the limit of a Frechet distance needs {FEWEST} clips or more, got {most}.")
    gen = torch.Generator().manual_seed(seed)
    inverse = np.linspace(3 / most, 1 / most, sizes)
    counts = np.unique(np.round(1 / inverse).astype(int))
    at, found = [], []
    for count in counts.tolist():
        for _ in range(repeats):
            pick = [torch.randperm(len(side), generator=gen)[:count] for side in (x, y)]
            at.append(1 / count)
            found.append(frechet(x[pick[0]], y[pick[1]]))
    slope_and_limit = np.polyfit(at, found, 1)
    return float(slope_and_limit[1])


def frechet_of(x: Tensor, y: Tensor, *, draws: int = 50, seed: int = 0) -> Frechet:
    """The distance of a sample from a reference: measured, with an interval, and extrapolated.

    The interval comes from resamples of the first sample without repeats (two thirds of it, shifted to the
    measured value): a bootstrap with repeats would lower the rank of the covariance and raise every distance.
    """
    rng = np.random.default_rng(seed)
    value = frechet(x, y)
    keep = max(2 * len(x) // 3, 2)
    found = np.array([frechet(x[rng.permutation(len(x))[:keep]], y) for _ in range(draws)])
    # A subsample of n / 1.5 without repeats spreads sqrt(1.5 - 1) as much as the sample itself does.
    spread = (found - np.median(found)) / np.sqrt(len(x) / keep - 1) if len(x) > keep else found - value
    low, high = (value + np.quantile(spread, [0.025, 0.975])).tolist()
    limit = frechet_limit(x, y, seed=seed) if min(len(x), len(y)) >= FEWEST else None
    return Frechet(Estimate(value, low, high, len(x), seed), limit)
