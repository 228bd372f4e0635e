"""Read any known file, write any known output: the format is told by content first, by extension second."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.atomic import refuse_existing, replacing
from core.errors import ConfigError, DataError, unknown
from domains.ultrasound.data import Record, check_finite
from domains.ultrasound.formats.dicom import read_dicom, write_dicom
from domains.ultrasound.formats.frames import read_folder, write_folder
from domains.ultrasound.formats.hdf5 import hdf5_layout
from domains.ultrasound.formats.mat import read_mat
from domains.ultrasound.formats.metaimage import read_metaimage
from domains.ultrasound.formats.nifti import read_nifti, write_nifti
from domains.ultrasound.formats.npz import read_npz, write_npz
from domains.ultrasound.formats.picmus import read_picmus
from domains.ultrasound.formats.picture import read_picture, write_png
from domains.ultrasound.formats.pybf import read_pybf
from domains.ultrasound.formats.tags import with_warnings
from domains.ultrasound.formats.uff import read_uff
from domains.ultrasound.formats.video import read_gif, read_video, write_mp4
from domains.ultrasound.formats.zea import read_zea, write_zea

__all__ = ["KNOWN", "Format", "detect", "read", "write"]


@dataclass(frozen=True)
class Format:
    """One file format: its extensions, its reader, its writer if there is one, and the package it needs.

    A writer returns warnings. `package` is empty when the base installation suffices.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Record]
    write: Callable[[Record, Path], list[str]] | None
    package: str
    note: str


KNOWN: dict[str, Format] = {
    item.name: item
    for item in (
        Format(
            "zea",
            (".hdf5", ".h5"),
            read_zea,
            write_zea,
            "h5py, hdf5plugin",
            "HDF5 in the layout of zea; exact geometry",
        ),
        Format("npz", (".npz", ".npy"), read_npz, write_npz, "", "NumPy archive: data, meta; exact"),
        Format("mat", (".mat",), read_mat, None, "scipy, h5py", "MATLAB 5 and 7.3: MUST, PICMUS, one array"),
        Format("picmus", (), read_picmus, None, "h5py", "HDF5 of the PICMUS challenge"),
        Format("pybf", (), read_pybf, None, "h5py", "HDF5 of pybf: Field II plane waves"),
        Format("uff", (".uff",), read_uff, None, "pyuff_ustb", "UltraSound ToolBox files"),
        Format("metaimage", (".mha", ".mhd"), read_metaimage, None, "", "MetaImage, sequences of Plus"),
        Format(
            "dicom",
            (".dcm", ".dicom"),
            read_dicom,
            write_dicom,
            "pydicom",
            "DICOM pictures, secondary capture",
        ),
        Format("nifti", (".nii", ".nii.gz"), read_nifti, write_nifti, "nibabel", "NIfTI pictures"),
        Format(
            "video",
            (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm"),
            read_video,
            write_mp4,
            "imageio-ffmpeg",
            "films; .mp4 out",
        ),
        Format("gif", (".gif",), read_gif, None, "", "GIF films"),
        Format(
            "picture",
            (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"),
            read_picture,
            write_png,
            "",
            "pictures; .png out",
        ),
    )
}

WRITABLE = {
    ".hdf5": "zea",
    ".h5": "zea",
    ".npz": "npz",
    ".dcm": "dicom",
    ".nii": "nifti",
    ".nii.gz": "nifti",
} | {
    ".mp4": "video",
    ".png": "picture",
}
# First bytes of a file, and the format they mean.
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"MATLAB 7.3", "mat"),
    (0, b"MATLAB 5.0", "mat"),
    (0, b"PK\x03\x04", "npz"),
    (0, b"\x93NUMPY", "npz"),
    (128, b"DICM", "dicom"),
    (0, b"\x89PNG\r\n\x1a\n", "picture"),
    (0, b"\xff\xd8\xff", "picture"),
    (0, b"II*\0", "picture"),
    (0, b"MM\0*", "picture"),
    (0, b"BM", "picture"),
    (0, b"GIF8", "gif"),
    (4, b"ftyp", "video"),
    (8, b"AVI ", "video"),
    (0, b"\x1aE\xdf\xa3", "video"),
    (344, b"n+1\0", "nifti"),
)
HEAD_BYTES = 1024


def detect(path: Path) -> str | None:
    """The name in KNOWN of a file's format, by its first bytes and then by its extension; None when unknown.

    Raises:
        DataError: the file is HDF5 by content and truncated.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    for offset, signature, name in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            if name == "hdf5":
                return "mat" if path.suffix.lower() == ".mat" else hdf5_layout(path) or "zea"
            return name
    if b"ObjectType" in head and b"NDims" in head:
        return "metaimage"
    return _by_suffix(path)


def _suffix(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _by_suffix(path: Path) -> str | None:
    return next((item.name for item in KNOWN.values() if _suffix(path) in item.suffixes), None)


def read(path: Path | str, *, check: bool = True) -> Record:
    """Read a file of any known format, or a folder of frames.

    `meta["warnings"]` lists what is doubtful, `meta["format"]` names the format.

    Args:
        check: refuse frames that hold NaN, are all zero or constant, and add the warnings of `check_finite`.

    Raises:
        DataError: the file is missing, of unknown type, damaged, or (with `check`) holds a frame without a
        picture. MissingExtra: its format needs a package that is not installed.
    """
    path = Path(path)
    if path.is_dir():
        record = read_folder(path, accepts=lambda item: _by_suffix(item) is not None, read_one=_read_file)
    else:
        record = _read_file(path)
    if not check:
        return record
    found = check_finite(record)
    warnings = list(record.meta.get("warnings", []))
    return record.with_values(
        record.values, meta=with_warnings(record.meta, warnings + [w for w in found if w not in warnings])
    )


def _read_file(path: Path) -> Record:
    if not path.exists():
        raise DataError(f"{path}: no such file.", hint="Check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.", hint="Copy the file again from its source.")
    name = detect(path)
    if name is None:
        known = ", ".join(suffix for item in KNOWN.values() for suffix in item.suffixes)
        raise DataError(
            f"{path}: unknown file type '{path.suffix}'; expected one of {known}.",
            hint="Convert the file, or save its array with np.savez(path, data=..., meta=...).",
        )
    record = KNOWN[name].read(path)
    return record.with_values(record.values, meta={"format": name, **record.meta})


def write(
    record: Record,
    path: Path | str,
    *,
    overwrite: bool = False,
    source: Path | None = None,
    strip_phi: bool = False,
    keep_phi: bool = False,
    dynamic_range_db: float | None = None,
) -> list[str]:
    """Write a record in the format that the extension names, completely or not at all.

    A path without extension is a new folder of PNG frames.

    Args:
        overwrite: replace an existing file; a folder is never replaced.
        source: DICOM file the record came from, whose identity tags go to a DICOM output.
        strip_phi: leave identity tags out of a DICOM output.
        keep_phi: copy identity tags without a warning.
        dynamic_range_db: range of decibel images in 8-bit outputs.

    Returns:
        Warnings of the writer.

    Raises:
        ConfigError: the output exists, the extension is not one that can be written, or the format cannot
        hold the kind.
    """
    path = Path(path)
    suffix = _suffix(path)
    if suffix and suffix not in WRITABLE:
        raise unknown("output type", suffix, WRITABLE)
    refuse_existing(path, overwrite=overwrite)
    with replacing(path, overwrite=overwrite) as draft:
        if not suffix:
            return write_folder(record, draft, dynamic_range_db=dynamic_range_db)
        match WRITABLE[suffix]:
            case "zea":
                return write_zea(record, draft)
            case "npz":
                return write_npz(record, draft)
            case "nifti":
                return write_nifti(record, draft)
            case "video":
                return write_mp4(record, draft, dynamic_range_db=dynamic_range_db)
            case "dicom":
                is_dicom = source is not None and source.is_file() and detect(source) == "dicom"
                return write_dicom(
                    record,
                    draft,
                    source=source if is_dicom else None,
                    strip_phi=strip_phi,
                    keep_phi=keep_phi,
                    dynamic_range_db=dynamic_range_db,
                )
            case _:
                if len(record.values) > 1:
                    raise ConfigError(
                        f"a PNG holds one frame; the record has {len(record.values)}.",
                        hint="Name a folder (no extension) or .mp4 for all frames.",
                    )
                return write_png(record, draft, dynamic_range_db=dynamic_range_db)
