"""How clean data are corrupted, q(x_t given x_0)."""

from core.process.betas import LinearBetas
from core.process.correlated import CorrelatedFlow
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
from core.process.interpolant import Interpolant
from core.process.masking import Masking
from core.process.poisson import Poisson, poisson
from core.process.product import Product
from core.process.record import from_record, to_record
from core.process.scheduled import Scheduled
from core.process.survival import Survival
from core.process.token_noise import UniformTokens

__all__ = [
    "VE",
    "VP",
    "Coeffs",
    "CorrelatedFlow",
    "CosineVP",
    "Gaussian",
    "Interpolant",
    "Karras",
    "LinearBetas",
    "Masking",
    "Poisson",
    "Product",
    "RectifiedFlow",
    "Scheduled",
    "SigmaPower",
    "SubVP",
    "Survival",
    "UniformTokens",
    "from_record",
    "poisson",
    "to_record",
]
