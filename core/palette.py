"""Colours and settings that the figures of every domain share; plain data, read by whoever draws."""

from collections.abc import Mapping
from typing import Any

__all__ = ["COLOURS", "STYLE"]

# Okabe & Ito's palette, told apart by readers with any colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
STYLE: Mapping[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150,
}
