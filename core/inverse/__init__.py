"""Inverse problems y = A(x) + noise under a diffusion prior: operators, solvers, one call for all of them."""

from core.inverse.daps import DAPS
from core.inverse.ddrm import DDRM, ILVR, MCG
from core.inverse.guided import DPS, DiffPIR, PiGDM
from core.inverse.linear import Linear, adjoint_gap, conjugate_gradients
from core.inverse.nonlinear import HDR, Custom, NonlinearBlur, PhaseRetrieval
from core.inverse.operators import (
    Additive,
    Convolution,
    Fourier,
    Inpainting,
    Matrix,
    Scaled,
    Separable,
    Stack,
    gaussian_kernel,
    uniform_kernel,
)
from core.inverse.plans import renoise, repeated
from core.inverse.reddiff import RED, RedDiff
from core.inverse.solve import METHODS, Solved, solve

__all__ = [
    "DAPS",
    "DDRM",
    "DPS",
    "HDR",
    "ILVR",
    "MCG",
    "METHODS",
    "RED",
    "Additive",
    "Convolution",
    "Custom",
    "DiffPIR",
    "Fourier",
    "Inpainting",
    "Linear",
    "Matrix",
    "NonlinearBlur",
    "PhaseRetrieval",
    "PiGDM",
    "RedDiff",
    "Scaled",
    "Separable",
    "Solved",
    "Stack",
    "adjoint_gap",
    "conjugate_gradients",
    "gaussian_kernel",
    "renoise",
    "repeated",
    "solve",
    "uniform_kernel",
]
