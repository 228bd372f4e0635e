"""Frechet ChemNet distance through `fcd_torch`: two Gaussians fitted to 512 activations of ChemNet.

Source: Preuer et al. 2018, arXiv:1803.09518; the network and its weights are those of the package.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.atomic import replacing
from core.errors import ConfigError
from core.extras import require
from domains.graphs.data import Array

__all__ = ["WIDTH", "Fit", "fcd", "fit"]

WIDTH = 512


@dataclass(frozen=True, eq=False)
class Fit:
    """Mean (512,) and covariance (512, 512) of activations of n molecules."""

    mean: Array
    covariance: Array
    n: int

    @property
    def singular(self) -> bool:
        """Whether there are too few molecules for a covariance of full rank."""
        return self.n <= WIDTH


def fit(smiles: Sequence[str], *, device: str = "cpu", cache: Path | None = None) -> Fit:
    """Fit a Gaussian to the activations of molecules; about 5 ms each on one core.

    Args:
        smiles: canonical; at least 2.
        cache: folder where the fit is kept under the checksum of the strings, and looked for first.

    Raises:
        ConfigError: fewer than 2 molecules.
        MissingExtra: `fcd_torch` is not installed.
    """
    if len(smiles) < 2:
        raise ConfigError(f"FCD needs at least 2 valid molecules, got {len(smiles)}.")
    module = require("fcd_torch", extra="graphs")
    key = hashlib.sha256("\n".join(smiles).encode()).hexdigest()[:24]
    path = cache / f"fcd_{key}.npz" if cache is not None else None
    if path is not None and path.is_file():
        with np.load(path, allow_pickle=False) as file:
            return Fit(file["mean"], file["covariance"], len(smiles))
    with warnings.catch_warnings():
        # The package loads its own network from a file of plain tensors with an old call of torch.
        warnings.simplefilter("ignore")
        found = module.FCD(device=device, n_jobs=1).precalc(list(smiles))
    own = Fit(np.asarray(found["mu"]), np.asarray(found["sigma"]), len(smiles))
    if path is not None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            np.savez_compressed(draft, mean=own.mean, covariance=own.covariance)
    return own


def fcd(x: Fit, y: Fit) -> float:
    """Frechet distance of two fits: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), through a symmetric root.

    Source: Dowson & Landau 1982, eq. 16.
    """
    values, vectors = np.linalg.eigh(x.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ y.covariance @ root), 0)).sum()
    gap = float(((x.mean - y.mean) ** 2).sum())
    return gap + float(np.trace(x.covariance) + np.trace(y.covariance) - 2 * cross)
