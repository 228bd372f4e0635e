"""Log densities: of clean data through the probability-flow ODE, and along one stochastic path."""

from core.density.likelihood import Likelihood, exact_divergence, hutchinson, log_prob
from core.density.path import PathDensity, PathPoint, follow, path_density

__all__ = [
    "Likelihood",
    "PathDensity",
    "PathPoint",
    "exact_divergence",
    "follow",
    "hutchinson",
    "log_prob",
    "path_density",
]
