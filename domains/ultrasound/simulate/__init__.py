"""Simulated cardiac ultrasound: hearts, probes, haze and three ways to turn them into echoes.

| backend   | returns                                   | cost                                             |
| --------- | ----------------------------------------- | ------------------------------------------------ |
| `polar`   | beamformed lines with truth (default)     | .1 CPU-s per 2112 x 96 RF frame, haze .06 once   |
| `channel` | echoes per element, for beamforming tests | .1 CPU-s for 4000 scatterers and 64 elements     |
| `pymust`  | the same by PyMUST, as a cross-check      | 10 s per 1000 scatterers; needs package `pymust` |
"""

from domains.ultrasound.simulate.channel import channel_echoes, diverging
from domains.ultrasound.simulate.cine import simulate
from domains.ultrasound.simulate.haze import HazeRecipe, Mixture, draw_haze, haze_lines, mix
from domains.ultrasound.simulate.polar import PointSpread, point_spread, render, tissue_lines
from domains.ultrasound.simulate.probe import PROBES, Probe, get_probe
from domains.ultrasound.simulate.scene import CardiacScene, draw_scene
from domains.ultrasound.simulate.training import training_frames

__all__ = [
    "PROBES",
    "CardiacScene",
    "HazeRecipe",
    "Mixture",
    "PointSpread",
    "Probe",
    "channel_echoes",
    "diverging",
    "draw_haze",
    "draw_scene",
    "get_probe",
    "haze_lines",
    "mix",
    "point_spread",
    "render",
    "simulate",
    "tissue_lines",
    "training_frames",
]
