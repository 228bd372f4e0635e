"""The real recordings that ultrasound demos and benchmarks use, with what their files do not say.

`plus_bk`: IQ lines of a BK convex probe on a phantom with a water-filled chamber. Its geometry is not in the
file; in pixels of the scanner's own 600 x 400 picture it fits an arc centre at row -14, column 299.5, radii
67 to 400 and +-70.3 degrees. `plus_ultrasonix`: lines that show nothing but horizontal reverberation, a
sample of real haze.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from domains.ultrasound.data import Record
from domains.ultrasound.formats import read
from domains.ultrasound.scan_convert import Arc
from domains.ultrasound.simulate import training_frames

__all__ = ["BK_REGIONS", "add_simulated_haze", "bk_layout", "bk_lines", "crop", "reverberation_lines"]

BK_FILE = "BkCurvilinearRfData.igs.mhd"
REVERBERATION_FILE = "UltrasonixLinearRfData.igs.mha"
BK_CROP = (528, 288)  # samples after two-sample averaging, lines
# [sample0, sample1, line0, line1] after averaging: the water chamber and the bright near field above it.
BK_REGIONS = {"cavity": (85, 115, 150, 200), "tissue": (10, 60, 150, 200)}


def bk_lines(folder: Path) -> Record:
    """The BK lines, neighbouring samples averaged in pairs and cut to 528 x 288: (1, 528, 288) complex64."""
    record = read(folder / BK_FILE)
    pairs = record.values[:, : 2 * (record.values.shape[1] // 2)]
    halved = (pairs[:, 0::2] + pairs[:, 1::2]) / 2
    masks = {}
    for name, (top, bottom, left, right) in BK_REGIONS.items():
        mask = np.zeros((1, *BK_CROP), dtype=bool)
        mask[:, top:bottom, left:right] = True
        masks[{"cavity": "ventricle", "tissue": "myocardium"}[name]] = mask
    lines = np.ascontiguousarray(halved[:, : BK_CROP[0], : BK_CROP[1]]).astype(np.complex64)
    return replace(record, values=lines, truth=masks)


def bk_layout() -> Arc:
    """Where `bk_lines` lie in the scanner's picture, in its pixels."""
    samples, lines, half = 870, 358, math.radians(70.3)
    angles = torch.linspace(-half, half, lines, dtype=torch.float64)[: BK_CROP[1]]
    last = 67 + (400 - 67) * (BK_CROP[0] - 1) / (samples - 1)
    return Arc(BK_CROP[0], (300, 600), (-14.0, 299.5), 67.0, last, angles)


def add_simulated_haze(record: Record, level: float, *, seed: int = 0) -> Record:
    """Lay simulated haze over real lines, which become the truth.

    The haze of three draws stands side by side (3 x 96 lines); both parts are scaled to peak 1 before y = x +
    level h.
    """
    count = math.ceil(record.values.shape[2] / 96)
    drawn = training_frames(count, what="haze", seed=seed)
    haze = torch.cat(list(drawn), dim=1)[: record.values.shape[1], : record.values.shape[2]].numpy()
    clean = record.values / np.abs(record.values).max()
    hazy = clean + level * haze[None] / np.abs(haze).max()
    peak = np.abs(hazy).max()
    return record.with_values(
        (hazy / peak).astype(np.complex64),
        truth={**record.truth, "tissue": (clean / peak).astype(np.complex64)},
    )


def reverberation_lines(folder: Path) -> Record:
    """Real reverberation, neighbouring samples averaged in pairs and cut to 528 x 128: (1, 528, 128)
    complex64.
    """
    record = read(folder / REVERBERATION_FILE)
    halved = (record.values[:, 0::2] + record.values[:, 1::2]) / 2
    return replace(record, values=np.ascontiguousarray(halved[:, :528]).astype(np.complex64))


def crop(record: Record, lines: slice) -> Record:
    """The same recording with some of its lines, truth included."""
    truth = {name: value[:, :, lines] for name, value in record.truth.items()}
    return record.with_values(np.ascontiguousarray(record.values[:, :, lines]), truth=truth)
