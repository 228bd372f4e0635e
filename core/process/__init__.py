"""How clean data are corrupted, q(x_t given x_0)."""

from core.process.gaussian import (
    VE,
    VP,
    Coeffs,
    CosineVP,
    Gaussian,
    Karras,
    RectifiedFlow,
    SigmaPower,
    SubVP,
)
from core.process.masking import Masking
from core.process.product import Product
from core.process.record import from_record, to_record

__all__ = [
    "VE",
    "VP",
    "Coeffs",
    "CosineVP",
    "Gaussian",
    "Karras",
    "Masking",
    "Product",
    "RectifiedFlow",
    "SigmaPower",
    "SubVP",
    "from_record",
    "to_record",
]
