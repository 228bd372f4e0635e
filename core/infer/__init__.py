"""Particles -> particles: steering, sequential Monte Carlo and search, checked by exact enumeration."""

from core.infer.fk import fk_sample
from core.infer.moves import Move, langevin, mala
from core.infer.particles import Particles, spread
from core.infer.potentials import Potential, difference, maximum, ratio, rowwise, total
from core.infer.resample import RESAMPLERS, parents_of

__all__ = [
    "RESAMPLERS",
    "Move",
    "Particles",
    "Potential",
    "difference",
    "fk_sample",
    "langevin",
    "mala",
    "maximum",
    "parents_of",
    "ratio",
    "rowwise",
    "spread",
    "total",
]
