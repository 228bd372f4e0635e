"""The few real recordings that the signal-chain tests need, read with a few lines each."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_TYPES = {"MET_UCHAR": np.uint8, "MET_SHORT": np.int16}


def read_meta_image(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """Uncompressed MetaImage as stored: axes (frame, line or row, sample or column)."""
    with path.open("rb") as stream:
        tags = {}
        while "ElementDataFile" not in tags:
            key, _, value = stream.readline().decode("latin-1").partition("=")
            tags[key.strip()] = value.strip()
        local = tags["ElementDataFile"] == "LOCAL"
        body = stream.read() if local else (path.parent / tags["ElementDataFile"]).read_bytes()
    shape = [int(n) for n in reversed(tags["DimSize"].split())]
    values = np.frombuffer(body, _TYPES[tags["ElementType"]], count=int(np.prod(shape)))
    return values.reshape(shape if len(shape) == 3 else (1, *shape)).copy()


def read_bk_iq(folder: Path) -> Tensor:
    """BK lines: complex64 (1, sample 1740, line 358), from I and Q alternating within each line."""
    pairs = read_meta_image(folder / "BkCurvilinearRfData.igs.mhd").astype(np.float32)
    return torch.from_numpy(pairs[..., 0::2] + 1j * pairs[..., 1::2]).mT


class Channels(NamedTuple):
    """Echoes (frame, tx, sample, element), element positions (element, 3) m, and the timing."""

    rf: Tensor
    elements_m: Tensor
    fs_hz: float
    f0_hz: float
    bandwidth: float
    sound_speed_m_s: float
    t0_s: float


def read_disk(folder: Path) -> Channels:
    """Rotating disk: 32 single plane-wave frames of 334 samples and 128 elements, PRF 10 kHz."""
    from scipy.io import loadmat

    tree = loadmat(folder / "PWI_disk.mat", squeeze_me=True, struct_as_record=False)
    p = tree["param"]
    rf = torch.from_numpy(tree["RF"].astype(np.float32)).permute(2, 0, 1)[:, None]
    elements = line_of_elements(int(p.Nelements), float(p.pitch))
    return Channels(rf, elements, float(p.fs), float(p.fc), p.bandwidth / 100, float(p.c), float(p.t0))


def read_disk_reference(folder: Path) -> Tensor:
    """The reference B-mode: (frame 32, row 251, col 251), 0 to 255 over 30 dB."""
    from scipy.io import loadmat

    return torch.from_numpy(loadmat(folder / "bmode_PWI_disk.mat")["I"].astype(np.float32)).permute(2, 0, 1)


def read_field_ii(folder: Path) -> tuple[Channels, Tensor, Tensor]:
    """Field II plane waves: channels (1, 3, 2313, 192), their angles (3,) rad, and scatterers (2748, 3) m."""
    import h5py

    with h5py.File(folder / "rf_dataset.hdf5") as f:
        shots = [f[f"data/rf_data/frame_1/shot_{k}"][()].T for k in (1, 2, 3)]
        angles = f["data/tx_mode/PW_3_12"][0]
        scatterers = f["sim_params/scatters_data"][()].T
        numbers = {k: float(f[k][0, 0]) for k in ("data/f_sampling", "data/correction_time_shift")}
        probe = {k: float(v[0, 0]) for k, v in f["trans_params"].items()}
    rf = torch.from_numpy(np.stack(shots).astype(np.float32))[None]
    elements = line_of_elements(int(probe["x_num_of_elements"]), probe["x_pitch"])
    channels = Channels(
        rf,
        elements,
        numbers["data/f_sampling"],
        probe["f_central"],
        probe["bandwidth"],
        1540.0,
        -numbers["data/correction_time_shift"],  # holds both the start time (-1.067 us) and half the pulse
    )
    return channels, torch.from_numpy(angles), torch.from_numpy(scatterers)


def line_of_elements(n: int, pitch_m: float) -> Tensor:
    """Centred positions (n, 3), float64, m, of a linear array."""
    elements = torch.zeros(n, 3, dtype=torch.float64)
    elements[:, 0] = (torch.arange(n) - (n - 1) / 2) * pitch_m
    return elements


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of two pictures."""
    return float(torch.corrcoef(torch.stack((a.flatten(), b.flatten())).double())[0, 1])


def psnr_db(a: Tensor, b: Tensor) -> float:
    """PSNR of two 8-bit pictures, dB."""
    return float(10 * torch.log10(255**2 / (a.double() - b.double()).square().mean()))


def overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / (a | b).sum())
