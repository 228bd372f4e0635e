"""MAUVE, by its own package where that is installed; elsewhere it is not available, which is not 0.

The package `mauve-text` is in no extra: it brings a clustering library, and most of its use needs a large
language model. Features of any model can be given.

Source: Pillutla et al. 2021, arXiv:2102.01454.
"""

import importlib
from importlib.util import find_spec
from typing import Any

import numpy as np

from core.errors import DataError

__all__ = ["NOT_AVAILABLE", "mauve", "shown"]

Array = np.ndarray[Any, np.dtype[Any]]
NOT_AVAILABLE = "not available"


def mauve(samples: Array, references: Array, *, seed: int = 0) -> float | None:
    """MAUVE of features of samples against those of held-out text, in (0, 1]; None without the package.

    Args:
        samples: (N, D) features, one row per text.
        references: (M, D).
        seed: of the clustering.

    Raises:
        DataError: the shapes do not fit.
    """
    if samples.ndim != 2 or references.ndim != 2 or samples.shape[1] != references.shape[1]:
        raise DataError(
            f"features have shapes {samples.shape} and {references.shape}, expected (n, D) twice."
        )
    if find_spec("mauve") is None:
        return None
    package = importlib.import_module("mauve")
    found = package.compute_mauve(p_features=samples, q_features=references, seed=seed, verbose=False)
    return float(found.mauve)


def shown(value: float | None, digits: int = 3) -> str:
    """A metric as text; one that is absent says so."""
    return NOT_AVAILABLE if value is None else f"{value:.{digits}f}"
