"""Options that several ultrasound commands share, spelt and explained once."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "F0",
    "R0",
    "R1",
    "Bandwidth",
    "DynamicRange",
    "Force",
    "Fs",
    "HalfAngle",
    "Out",
    "ProbeType",
    "RunDir",
    "Settings",
    "SoundSpeed",
    "Source",
    "Width",
    "geometry",
]

Source = Annotated[
    Path, typer.Argument(help="Recording: HDF5, NPZ, MAT, MHA, DICOM, ...; or a folder of frames.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write.", show_default=False)]
RunDir = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Run folder.", show_default="clean.run for clean.hdf5, clean.png.run for clean.png"
    ),
]
Force = Annotated[
    bool, typer.Option("--force", "--overwrite", help="Replace the output and the run in its folder.")
]
Settings = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file of settings; the command line wins.", show_default=False),
]
DynamicRange = Annotated[
    float, typer.Option("--dynamic-range-db", "--dr", help="Levels below minus this are clipped, dB.")
]
ProbeType = Annotated[
    str | None,
    typer.Option(
        "--probe", help="phased, linear or curvilinear; where the file has none.", show_default=False
    ),
]
R0 = Annotated[
    float | None, typer.Option("--r0", help="Range of the first sample, metres.", show_default=False)
]
R1 = Annotated[
    float | None, typer.Option("--r1", help="Range of the last sample, metres.", show_default=False)
]
HalfAngle = Annotated[
    float | None,
    typer.Option("--half-angle", help="Lines fan out by plus and minus this, degrees.", show_default=False),
]
Width = Annotated[
    float | None, typer.Option("--width", help="Width of parallel lines, metres.", show_default=False)
]
Fs = Annotated[float | None, typer.Option("--fs", help="Sampling frequency, Hz.", show_default=False)]
F0 = Annotated[float | None, typer.Option("--f0", help="Centre frequency, Hz.", show_default=False)]
Bandwidth = Annotated[
    float | None,
    typer.Option("--bandwidth", help="Two-sided -6 dB bandwidth as a share of f0.", show_default=False),
]
SoundSpeed = Annotated[
    float | None, typer.Option("--sound-speed", help="Speed of sound, m/s.", show_default=False)
]


def geometry(
    probe: str | None = None,
    r0: float | None = None,
    r1: float | None = None,
    half_angle: float | None = None,
    width: float | None = None,
    fs: float | None = None,
    f0: float | None = None,
    bandwidth: float | None = None,
    sound_speed: float | None = None,
) -> dict[str, Any]:
    """Geometry options as the fields that workflows take; None where an option is not given."""
    return {
        "probe": probe,
        "r0_m": r0,
        "r1_m": r1,
        "half_angle_deg": half_angle,
        "width_m": width,
        "fs_hz": fs,
        "f0_hz": f0,
        "bandwidth": bandwidth,
        "sound_speed_m_s": sound_speed,
    }
