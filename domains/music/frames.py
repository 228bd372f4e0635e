"""The clock of the music models: 22,050 samples and 21.533 latent frames a second.

A frame is 1024 samples at 22.05 kHz and 2048 at 44.1 kHz: the same 21.533 Hz either way, so lyric stamps fall
on the same frames in the small models and in the published one.

Source: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.2 (rate of the latents).
"""

import math

__all__ = ["FRAME_RATE", "HOP", "RATE", "frames_of", "seconds_of"]

RATE = 22050  # samples a second
HOP = 1024  # samples a frame
FRAME_RATE = RATE / HOP  # 21.533 Hz


def frames_of(seconds: float) -> int:
    """Frames that cover a duration, at least 1 for any positive one."""
    return math.ceil(seconds * FRAME_RATE - 1e-9)


def seconds_of(frames: int) -> float:
    """Duration of a number of frames."""
    return frames / FRAME_RATE
