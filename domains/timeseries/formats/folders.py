"""Read folders of data: those of this project, and the datasets of GluonTS, packed or not.

| folder        | holds                                                                                  |
| ------------- | -------------------------------------------------------------------------------------- |
| this project's| `series.parquet`, one row a series, and `dataset.json`: frequency, horizon, windows     |
| GluonTS's     | `metadata/metadata.json`, `train/`, `test/` with JSON lines, Parquet or Arrow           |

GluonTS keeps the test windows of a series as prefixes of different lengths. They are folded back into the
longest one, after every value is compared, so that `data.split` makes the same instances again.
"""

import json
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.timeseries.data import Series, Table
from domains.timeseries.formats.rows import Entry, entries_of, read_arrow, read_entries, read_json_lines
from domains.timeseries.frequency import canonical

__all__ = ["read_archive", "read_folder"]

DATA_SUFFIXES = (".json", ".jsonl", ".gz", ".parquet", ".arrow", ".feather")


def read_folder(path: Path, *, freq: str | None = None) -> Table:
    """Read a folder of either kind.

    Args:
        freq: only checked: it must be the one that the folder states.

    Raises:
        DataError: a file is absent or broken, or the frequency is another.
    """
    if (path / "dataset.json").is_file():
        return _project(path, freq)
    candidates = (path / "metadata" / "metadata.json", path / "metadata.json")
    meta = next((file for file in candidates if file.is_file()), None)
    if meta is not None:
        return _gluonts(path, meta, freq)
    inner = [child for child in sorted(path.iterdir()) if child.is_dir()]
    if len(inner) == 1:
        return read_folder(inner[0], freq=freq)
    raise DataError(
        f"the folder {path} holds no dataset: neither dataset.json nor metadata/metadata.json.",
        hint="Name a file, or a folder with series.parquet and dataset.json.",
    )


def read_archive(path: Path, *, freq: str | None = None) -> Table:
    """Read a GluonTS dataset packed as .tar.gz, without unpacking it beside itself."""
    with tempfile.TemporaryDirectory(prefix="suffuse-") as folder:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError, EOFError) as err:
            said = str(err).strip().splitlines()[0].rstrip(":. ")
            raise DataError(f"{path} cannot be unpacked: {said}.", hint="Download it again.") from err
        table = read_folder(Path(folder), freq=freq)
    name = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    return replace(table, name=name)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(f"{path} is not JSON: {err}.", hint="Write the file again.") from err
    if isinstance(found, dict) and "time_granularity" in found:
        found.setdefault("freq", found["time_granularity"])  # archives of GluonTS before 2020
    if not isinstance(found, dict) or "freq" not in found:
        raise DataError(f"{path} has no 'freq'.", hint='Add the frequency, such as "freq": "h".')
    return found


def _checked_freq(stated: object, given: str | None, path: Path) -> str:
    name = canonical(str(stated))
    if given is not None and canonical(given) != name:
        raise DataError(
            f"{path} states the frequency '{name}', '{canonical(given)}' was given.",
            hint="Leave --freq away.",
        )
    return name


def _project(path: Path, freq: str | None) -> Table:
    facts = _json_object(path / "dataset.json")
    file = path / "series.parquet"
    if not file.is_file():
        raise DataError(f"{file} is absent.", hint="Both dataset.json and series.parquet are needed.")
    name = _checked_freq(facts["freq"], freq, path / "dataset.json")
    table = read_entries(entries_of(read_arrow(file)), freq=name, source=str(file))
    return replace(
        table,
        name=str(facts.get("name", path.name)),
        prediction_length=_whole(facts, "prediction_length", path),
        context_length=_whole(facts, "context_length", path),
        rolling_windows=_whole(facts, "rolling_windows", path),
        seasonality=_whole(facts, "seasonality", path),
        stamp=str(facts.get("stamp", table.stamp)),
    )


def _whole(facts: dict[str, Any], key: str, path: Path) -> int | None:
    value = facts.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or value < 1:
        raise DataError(f"{path / 'dataset.json'}: '{key}' must be a whole number >= 1, got {value!r}.")
    return value


def _gluonts(path: Path, meta: Path, freq: str | None) -> Table:
    facts = _json_object(meta)
    name = _checked_freq(facts["freq"], freq, meta)
    horizon = facts.get("prediction_length")
    training, test = _entries(path / "train"), _entries(path / "test")
    if not test:
        table = read_entries(training, freq=name, source=str(path / "train"))
        return replace(table, name=path.name, prediction_length=horizon)
    numbered = [{**entry, "item_id": str(i)} for i, entry in enumerate(test)]
    windows = read_entries(numbered, freq=name, source=str(path / "test"))
    names = _names(training or test)
    p = int(horizon) if horizon else _horizon(windows.series, len(names))
    folded = _folded(windows.series, names, p)
    if folded is None:
        note = "test windows are no prefixes of common series: each is kept as a series of its own."
        return replace(windows, name=path.name, prediction_length=p, notes=(*windows.notes, note))
    k = len(test) // len(names)
    return replace(windows, series=folded, name=path.name, prediction_length=p, rolling_windows=k)


def _entries(folder: Path) -> list[Entry]:
    if not folder.is_dir():
        return []
    entries: list[Entry] = []
    for file in sorted(folder.iterdir()):
        if file.suffix not in DATA_SUFFIXES or file.name.startswith((".", "_")):
            continue
        if file.suffix in {".parquet", ".arrow", ".feather"}:
            entries += list(entries_of(read_arrow(file)))
        else:
            entries += read_json_lines(file)
    return entries


def _names(entries: Sequence[Entry]) -> list[str]:
    """Ids of the series behind entries: their own where each has another, else their numbers."""
    own = [str(entry.get("item_id", i)) for i, entry in enumerate(entries)]
    return own if len(set(own)) == len(own) else [str(i) for i in range(len(entries))]


def _horizon(windows: Sequence[Series], n: int) -> int | None:
    """What the lengths of a series' windows differ by, where the metadata do not say."""
    lengths = sorted(len(item) for item in windows[::n])
    return lengths[1] - lengths[0] if len(lengths) > 1 else None


def _folded(windows: Sequence[Series], names: Sequence[str], p: int | None) -> tuple[Series, ...] | None:
    """The longest window of each series, or None where the others are no prefixes of it, P apart."""
    if len(windows) % len(names):
        return None
    k = len(windows) // len(names)
    folded = []
    for number, name in enumerate(names):
        group = sorted(windows[number :: len(names)], key=len)
        longest = group[-1]
        for place, item in enumerate(group):
            short = len(longest) - (k - 1 - place) * (p or 0)
            same = np.array_equal(item.target, longest.target[: len(item)], equal_nan=True)
            if item.start != longest.start or len(item) != short or not same:
                return None
        folded.append(replace(longest, item_id=name))
    return tuple(folded)
