"""Control at inference time: loudness, melody, form and given parts, by the noise that a song starts from."""

from domains.music.control.asked import loudness_curve, tune_classes, tune_of
from domains.music.control.heard import Heard, ProbeReader, SpecReader, WaveReader, fit_probe, heard_wave
from domains.music.control.optimise import Controlled, ControlSettings, Run, control, rolled
from domains.music.control.targets import (
    Loop,
    Loudness,
    Melody,
    Reference,
    Similar,
    Structure,
    Sum,
    Target,
    pattern,
)

__all__ = [
    "ControlSettings",
    "Controlled",
    "Heard",
    "Loop",
    "Loudness",
    "Melody",
    "ProbeReader",
    "Reference",
    "Run",
    "Similar",
    "SpecReader",
    "Structure",
    "Sum",
    "Target",
    "WaveReader",
    "control",
    "fit_probe",
    "heard_wave",
    "loudness_curve",
    "pattern",
    "rolled",
    "tune_classes",
    "tune_of",
]
