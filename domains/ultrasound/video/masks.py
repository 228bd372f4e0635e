"""Which parts of a picture a guided dehazing trusts, and where it expects haze.

    strong      = min(1, septum + skeleton + border + black)
    background  = [strong < .1] [ventricle = 0]
    W           = w_bg background + w_vent ventricle (1 - strong) + w_sept strong
    M_haze      = ventricle (1 - strong)

Septum and ventricle are soft: a region is thresholded, blurred, and scaled to [0, 1]. They are drawn by the
user ("septum" or "tissue", "ventricle" or "cavity", as `roi.read_roi` reads them); without them only the
parts that the picture itself gives remain. The skeleton is the centre lines of bright structures, the border
a band at the top and at the bottom, black what is black already.

Lengths are pixels of a picture of 256 rows and scale with the rows of the one at hand.

Source: the entry of Stevens, Nolan & van Sloun to the challenge DehazingEcho 2025; weights and lengths are
the published recommended ones, not those tuned to the challenge's score. Deviations: regions come from the
user, not from a segmentation network; lengths scale with the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from core.errors import DataError
from core.extras import require
from domains.ultrasound.config import VideoConfig

__all__ = ["Trust", "blurred", "keep_bottom", "outside", "skeleton_of", "trust"]

Array = np.ndarray[Any, np.dtype[Any]]

ROWS = 256.0  # of the pictures that published lengths belong to
BLACK = 1e-6  # levels this close to -1 are black
FAINT = 0.1  # strong guidance below this leaves room for the background
NAMES = {"ventricle": ("ventricle", "cavity"), "septum": ("septum", "tissue")}


@dataclass(frozen=True)
class Trust:
    """Weights W of the residual and the mask of expected haze, (F, H, W) each."""

    weights: Tensor
    haze: Tensor


def trust(levels: Tensor, regions: Mapping[str, Array], config: VideoConfig) -> Trust:
    """Weights and haze mask of a cine.

    Args:
        levels: (F, H, W), in [-1, 1].
        regions: masks (H, W) or (F, H, W) by name.
    """
    found = {part: _region(regions, names, levels) for part, names in NAMES.items()}
    vent, septum = (_soft(found[part], config) for part in ("ventricle", "septum"))
    strong = septum + border(levels, config) + (levels <= -1 + BLACK).to(levels)
    if config.skeleton:
        strong = strong + skeleton_of(levels, config)
    strong = strong.clamp(0, 1)
    background = ((strong < FAINT) & (vent == 0)).to(levels)
    haze = vent * (1 - strong)
    weights = config.w_bg * background + config.w_vent * haze + config.w_sept * strong
    return Trust(weights, haze)


def border(levels: Tensor, config: VideoConfig) -> Tensor:
    """One in the rows at the top and at the bottom, like the levels."""
    rows = levels.shape[-2]
    top, bottom = (round(px * rows / ROWS) for px in (config.border_top_px, config.border_bottom_px))
    at = torch.arange(rows, device=levels.device)
    return ((at < top) | (at >= rows - bottom)).to(levels)[:, None].expand(levels.shape)


def skeleton_of(levels: Tensor, config: VideoConfig) -> Tensor:
    """Soft centre lines of bright structures, in [0, 1], like the levels.

    Brightness (level + 1) / 2 is blurred, thresholded, thinned to lines, and blurred again.
    """
    thin = require("skimage.morphology", extra="ultrasound").skeletonize
    sigma = config.mask_sigma_px * levels.shape[-2] / ROWS
    bright = blurred((levels.clamp(-1, 1) + 1) / 2, sigma) > config.mask_threshold
    lines = np.stack([thin(frame) for frame in bright.cpu().numpy()])
    return _scaled(blurred(torch.from_numpy(lines).to(levels), sigma))


def keep_bottom(output: Tensor, source: Tensor, *, keep: float, blend: float) -> Tensor:
    """The bottom of the input put back: a share `keep` of the rows, above it a cosine ramp over `blend`.

    Args:
        output, source: (F, H, W).
        keep, blend: shares of the rows, 0 to 1. 0 keeps nothing and returns the output.
    """
    if keep == 0:
        return output
    rows = output.shape[-2]
    first, ramp = rows * (1 - keep), max(rows * blend, 1e-9)
    at = torch.arange(rows, dtype=output.dtype, device=output.device)
    share = ((at - (first - ramp)) / ramp).clamp(0, 1)
    weight = ((1 - torch.cos(torch.pi * share)) / 2)[:, None]
    return output + weight * (source - output)


def outside(levels: Tensor) -> Tensor:
    """Pixels (H, W) that are black in every frame: outside the sector, or never reached by an echo."""
    return (levels <= -1 + BLACK).all(0)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of every frame (F, H, W), edges repeated; cut off at four standard deviations."""
    if sigma <= 0:
        return x
    for axis in (-2, -1):
        reach = min(int(4 * sigma + 0.5), x.shape[axis] - 1)
        at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-(at**2) / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).reshape((1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1))
        pad = (0, 0, reach, reach) if axis == -2 else (reach, reach, 0, 0)
        x = F.conv2d(F.pad(x[:, None], pad, mode="replicate"), kernel)[:, 0]
    return x


def _soft(mask: Tensor, config: VideoConfig) -> Tensor:
    sigma = config.mask_sigma_px * mask.shape[-2] / ROWS
    return _scaled(blurred((mask > config.mask_threshold).to(mask), sigma))


def _scaled(x: Tensor) -> Tensor:
    """Each frame moved and scaled to [0, 1]; an even frame becomes 0."""
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    return (x - low) / (high - low).clamp_min(1e-8)


def _region(regions: Mapping[str, Array], names: tuple[str, ...], levels: Tensor) -> Tensor:
    """The first region that has one of the names, (F, H, W); zeros where there is none."""
    name = next((name for name in names if name in regions), None)
    if name is None:
        return torch.zeros_like(levels)
    mask = np.asarray(regions[name])
    if mask.shape not in (tuple(levels.shape), tuple(levels.shape[1:])):
        raise DataError(f"region '{name}' has shape {mask.shape}, the pictures {tuple(levels.shape[1:])}.")
    return torch.from_numpy(np.ascontiguousarray(mask)).to(levels).expand(levels.shape)
