"""Where datasets lie on this machine: find them, check them, fetch them.

A dataset's files are searched in `<folder>/<domain>/<name>`, and then in `<folder>/<domain>`, which sets of
one domain may share, for each folder of the search path in order:

1. the folder given (`--data-dir`),
2. the folder named by the environment variable `SUFFUSE_DATA`,
3. `suffuse` in the user's cache folder.

Downloads go to the first of these that is given. This is the one module that reads the environment for data.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import DataError
from core.progress import Progress, silent
from data.catalog import Card, File, find_card
from data.download import download, sha256_of

__all__ = ["Check", "Status", "cache_dir", "fetch", "is_present", "path", "search_path", "verify"]

Status = Literal["ok", "missing", "wrong size", "wrong checksum"]


@dataclass(frozen=True)
class Check:
    """What `verify` found.

    Attributes:
        name: the dataset.
        folder: where its files lie, None when no folder of the search path holds any of them.
        files: state of each file of the card; empty for what needs no files.
        ok: everything the card lists is there and right (for a builtin: its package is installed).
    """

    name: str
    folder: Path | None
    files: Mapping[str, Status]
    ok: bool


def search_path(data_dir: Path | None = None) -> tuple[Path, ...]:
    """Folders to search for data, the most specific first; they need not exist."""
    named = os.environ.get("SUFFUSE_DATA")
    given = [data_dir, Path(named) if named else None, cache_dir()]
    return tuple(dict.fromkeys(folder.expanduser().absolute() for folder in given if folder is not None))


def cache_dir() -> Path:
    """Folder of this program in the user's cache, following each system's convention."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "suffuse"


def path(name: str | Card, *, data_dir: Path | None = None) -> Path:
    """Find the folder that holds every file of a dataset, by name and size; `verify` checks the content.

    Args:
        name: a name of the catalogue, or a card.
        data_dir: a folder to search before all others.

    Raises:
        ConfigError: no dataset has this name.
        DataError: no folder of the search path holds it completely, or the dataset has no files.
    """
    card = _with_files(name)
    folder = _locate(card, data_dir)
    if folder is None:
        looked = ", ".join(str(root) for root in search_path(data_dir))
        raise DataError(
            f"dataset '{card.name}' was not found (no {card.folder} in {looked}).",
            hint=f"Get it with 'suffuse data fetch {card.name}', or say where it is with --data-dir.",
        )
    absent = [file.path for file in card.files if not _has(folder, file)]
    if absent:
        raise DataError(
            f"{folder} lacks {len(absent)} of {len(card.files)} files of '{card.name}', first {absent[0]}.",
            hint=f"Complete it with 'suffuse data fetch {card.name}'.",
        )
    return folder


def is_present(name: str | Card, *, data_dir: Path | None = None) -> bool:
    """Whether a dataset can be used now: its files are there, by size, or its package is installed.

    Raises:
        ConfigError: no dataset has this name.
    """
    card = name if isinstance(name, Card) else find_card(name)
    if card.files:
        folder = _locate(card, data_dir)
        return folder is not None and all(_has(folder, file) for file in card.files)
    return card.builtin is None or importlib.util.find_spec(card.builtin.split(".")[0]) is not None


def verify(name: str | Card, *, data_dir: Path | None = None) -> Check:
    """Compare a dataset with its card, content included.

    Looks at the folder that `path` returns; when none is complete, at the first that holds any of the files.

    Raises:
        ConfigError: no dataset has this name.
    """
    card = name if isinstance(name, Card) else find_card(name)
    if not card.files:
        return Check(card.name, None, {}, ok=is_present(card))
    found = _locate(card, data_dir)
    if found is None:
        return Check(card.name, None, {file.path: "missing" for file in card.files}, ok=False)
    states = {file.path: _state(found, file) for file in card.files}
    return Check(card.name, found, states, ok=all(state == "ok" for state in states.values()))


def fetch(
    name: str | Card, *, data_dir: Path | None = None, timeout_s: float = 10.0, progress: Progress = silent
) -> Path:
    """Make every file of a dataset present and right, downloading only what is missing.

    Args:
        name: a name of the catalogue, or a card.
        data_dir: where to put it; by default the first folder of the search path, unless another one has it.
        timeout_s: longest silence of a server, in seconds.
        progress: called with bytes, one stage per file.

    Returns:
        The folder of the dataset.

    Raises:
        ConfigError: no dataset has this name.
        DataError: the dataset has no files, a file that is there has another content (it stays as it is), one
            has no address, or a download failed. Complete files stay, so that a second call continues.
    """
    card = _with_files(name)
    if data_dir is None:
        for folder in (root / card.folder for root in search_path()):
            if all(_has(folder, file) and _state(folder, file) == "ok" for file in card.files):
                return folder
    folder = search_path(data_dir)[0] / card.folder
    states = {file.path: _state(folder, file) for file in card.files}
    wrong = [where for where, state in states.items() if state.startswith("wrong")]
    if wrong:
        raise DataError(
            f"{folder / wrong[0]} has the {states[wrong[0]]} for '{card.name}'; nothing was overwritten.",
            hint="Move it away and fetch again.",
        )
    missing = [file for file in card.files if states[file.path] == "missing"]
    for file in missing:
        if file.url is None:
            raise DataError(
                f"{file.path} of '{card.name}' has no download address; it is from {card.source.repository}.",
                hint=f"Read its terms, then put the file at {folder / file.path}.",
            )
    for file in missing:
        assert file.url is not None
        download(
            file.url,
            folder / file.path,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            timeout_s=timeout_s,
            progress=progress,
        )
    return folder


def _with_files(name: str | Card) -> Card:
    """The card, refused when it has no files to find or fetch."""
    card = name if isinstance(name, Card) else find_card(name)
    if card.builtin is not None:
        raise DataError(
            f"dataset '{card.name}' has no files: it ships inside {card.source.repository}.",
            hint=f"Load it in Python with {card.builtin}().",
        )
    if card.generator is not None:
        raise DataError(
            f"dataset '{card.name}' has no files: it is simulated.", hint=f"Make it with: {card.generator}"
        )
    return card


def _locate(card: Card, data_dir: Path | None) -> Path | None:
    """First folder of the search path with all files, else the first with any, else None."""
    folders = [root / where for root in search_path(data_dir) for where in (card.folder, card.domain)]
    complete = (folder for folder in folders if all(_has(folder, file) for file in card.files))
    partial = (folder for folder in folders if any((folder / file.path).exists() for file in card.files))
    return next(complete, None) or next(partial, None)


def _has(folder: Path, file: File) -> bool:
    """Whether a file of the right size is there."""
    where = folder / file.path
    return where.is_file() and where.stat().st_size == file.size_bytes


def _state(folder: Path, file: File) -> Status:
    """Compare one file with its entry."""
    where = folder / file.path
    if not where.exists():
        return "missing"
    if not _has(folder, file):
        return "wrong size"
    return "ok" if sha256_of(where) == file.sha256 else "wrong checksum"
