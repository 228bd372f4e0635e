"""HDF5 files: open one with clear errors, read a dataset whatever its compression, tell the layout."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from core.extras import require
from domains.ultrasound.formats.axes import reading

__all__ = ["hdf5_layout", "opened", "scalar", "stored", "text"]

Array = np.ndarray[Any, np.dtype[Any]]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An HDF5 file open for reading.

    Raises:
        DataError: not HDF5, or truncated.
        MissingExtra: h5py is not installed.
    """
    h5py = require("h5py", extra="ultrasound")
    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        yield file


def stored(dataset: Any) -> Array:
    """The values of a dataset.

    Filters that HDF5 does not bring, such as Blosc in files written by zea, come from `hdf5plugin`.

    Raises:
        MissingExtra: a filter is needed and `hdf5plugin` is not installed.
        DataError: the filter is unknown to `hdf5plugin` too, or the name is a group.
    """
    h5py = require("h5py", extra="ultrasound")
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"expected a dataset, found a group at '{dataset.name}' of {dataset.file.filename}.")
    plan = dataset.id.get_create_plist()
    for index in range(plan.get_nfilters()):
        code, _, _, name = plan.get_filter(index)
        if h5py.h5z.filter_avail(code):
            continue
        require("hdf5plugin", extra="ultrasound")
        if not h5py.h5z.filter_avail(code):
            raise DataError(
                f"'{dataset.name}' of {dataset.file.filename} is compressed with filter {code} "
                f"({name.decode()}), which hdf5plugin does not bring.",
                hint="Save the file again with gzip or Blosc.",
            )
    return np.asarray(dataset[()])


def scalar(dataset: Any) -> float:
    """The single number of a dataset, whatever its rank.

    Raises:
        DataError: the dataset holds several different numbers.
    """
    values = np.unique(stored(dataset).astype(np.float64))
    if values.size != 1:
        raise DataError(
            f"'{dataset.name}' of {dataset.file.filename}: expected one number, found {values.size}."
        )
    return float(values[0])


def text(dataset: Any) -> str:
    """The text of a string dataset."""
    value = dataset[()]
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def hdf5_layout(path: Path) -> str | None:
    """Which layout an HDF5 file has: "zea", "pybf", "picmus", "uff", "mat", or None when none fits."""
    with open(path, "rb") as file:
        if file.read(10).startswith(b"MATLAB 7.3"):
            return "mat"
    with opened(path) as file:
        if "data/rf_data" in file and "trans_params" in file:
            return "pybf"
        if "US" in file:
            return "picmus"
        if any("class" in node.attrs for node in file.values() if node is not None):
            return "uff"
        if "tracks" in file or "data" in file or "event_0" in file:
            return "zea"
    return None
