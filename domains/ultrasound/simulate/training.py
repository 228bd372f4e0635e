"""Frames that train the two priors: tissue alone and haze alone, never paired."""

from typing import Literal

import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from domains.ultrasound.simulate.cine import Domain, lines_to_iq
from domains.ultrasound.simulate.haze import draw_haze, haze_lines
from domains.ultrasound.simulate.polar import tissue_lines
from domains.ultrasound.simulate.probe import Probe, get_probe
from domains.ultrasound.simulate.scene import draw_scene
from domains.ultrasound.simulate.seeding import between, child_seed, stream

__all__ = ["training_frames"]


def training_frames(
    n: int,
    *,
    what: Literal["tissue", "haze"],
    seed: int,
    domain: Domain = "iq",
    probe: Probe | None = None,
) -> Tensor:
    """Draw independent frames of one source: each with its own heart, phase and speckle, or its own haze.

    Frames of "tissue" and of "haze" with the same seed come from unrelated draws, and neither meets the
    recordings of `simulate` with that seed.

    Args:
        n: number of frames; about .1 CPU-seconds each.
        what: the source.
        seed: same seed, same frames; frame i does not depend on n.
        domain: "iq" or "rf".
        probe: default the "cardiac" preset.

    Returns:
        (n, sample, line), complex64 (IQ, 528 x 96 for the preset) or float32 (RF, 2112 x 96), each frame at
        peak magnitude 1.
    """
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}.")
    if what not in ("tissue", "haze"):
        raise unknown("source", what, ("tissue", "haze"))
    if domain not in ("iq", "rf"):
        raise unknown("domain", domain, ("iq", "rf"))
    probe = get_probe("cardiac") if probe is None else probe
    frames = []
    for index in range(n):
        item = child_seed(seed, f"training {what}", index)
        if what == "tissue":
            phase = between(0, 1, stream(item, "phase"))
            lines = tissue_lines(draw_scene(item), probe, [phase], seed=item)
        else:
            lines = haze_lines(draw_haze(item), probe, [0.0], seed=item)
        if domain == "iq":
            lines, _ = lines_to_iq(lines, probe)
        frames.append(lines[0] / lines.abs().max())
    return torch.stack(frames)
