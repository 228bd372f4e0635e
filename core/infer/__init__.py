"""Particles -> particles: steering, sequential Monte Carlo and search, checked by exact enumeration.

`fk_sample` steers plans. Programs written with `choose` and `score` are composed by the functions of `blocks`
and mean a measure under `Exact`, draws under `Sample`, and lists of choices under `Traced`.
"""

from core.infer import blocks
from core.infer.blocks import Sequential
from core.infer.drawn import Drawn, LogWeight, Sample
from core.infer.exact import Exact, Interpreter, Kernel, Populations, Program, Weighted
from core.infer.fk import fk_sample
from core.infer.laws import LAWS
from core.infer.measure import Factor, Measure, Table
from core.infer.moves import Move, langevin, mala
from core.infer.particles import Particles, spread
from core.infer.potentials import Potential, difference, maximum, ratio, rowwise, total
from core.infer.resample import RESAMPLERS, parents_of
from core.infer.search import Found, Search, search
from core.infer.traced import Trace, Traced, trace_mh, traces
from core.infer.twist import twist, twisted

__all__ = [
    "LAWS",
    "RESAMPLERS",
    "Drawn",
    "Exact",
    "Factor",
    "Found",
    "Interpreter",
    "Kernel",
    "LogWeight",
    "Measure",
    "Move",
    "Particles",
    "Populations",
    "Potential",
    "Program",
    "Sample",
    "Search",
    "Sequential",
    "Table",
    "Trace",
    "Traced",
    "Weighted",
    "blocks",
    "difference",
    "fk_sample",
    "langevin",
    "mala",
    "maximum",
    "parents_of",
    "ratio",
    "rowwise",
    "search",
    "spread",
    "total",
    "trace_mh",
    "traces",
    "twist",
    "twisted",
]
