"""Denoiser -> Denoiser: what is known beside the model, written so that every plan runs it."""

from core.steer.consistency import RULES, Measurement, Steered, at_mean, dps, pigdm, projection, steered
from core.steer.joint import Joint

__all__ = ["RULES", "Joint", "Measurement", "Steered", "at_mean", "dps", "pigdm", "projection", "steered"]
