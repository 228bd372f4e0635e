"""The folder that every command writes: what was run, on what, and what came out.

| file          | holds                                                                                |
| ------------- | ------------------------------------------------------------------------------------ |
| `run.json`    | command line, settings, seed, device, versions, revision, wall and CPU time, state   |
| `report.json` | the result: finite numbers, units in the keys                                        |
| `<name>.png`  | figures, each with the numbers drawn in `<name>.csv`                                 |
| others        | what the workflow writes and registers with `add`                                    |

A folder that holds anything is refused unless `force` or `resume` is given. `force` removes what the earlier
run recorded as its own, so that no old number survives beside a new one, and touches nothing else. Files
appear whole or not at all: each is written under a temporary name first.
"""

import csv
import io
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from apps.environment import environment, loaded
from apps.plain import plain, to_json
from core.errors import ConfigError, DataError

__all__ = ["Figure", "RunFolder", "read_run", "write_atomic"]


class Figure(Protocol):
    """What a figure must be able to do; a matplotlib figure is one."""

    def savefig(self, fname: Any, *, format: str, dpi: float, bbox_inches: str) -> None: ...


class RunFolder(AbstractContextManager["RunFolder"]):
    """One run. Use as a context manager: leaving it records the time taken and how the run ended.

    with RunFolder.open(out, command="ultrasound dehaze", config=config, seed=seed, device="cpu") as run:
        run.figure("sweep", fig, columns={"gamma": gammas, "gcnr": gcnrs})
        run.report({"gcnr": 0.91})
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self._record = record
        self._wall = time.perf_counter()
        self._cpu = _cpu_s()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        command: str,
        config: Any = None,
        seed: int | None = None,
        device: str | None = None,
        force: bool = False,
        resume: bool = False,
    ) -> "RunFolder":
        """Claim a folder before any work is done.

        Args:
            path: the folder; made when absent.
            command: group and verb without the program's name, such as "ultrasound dehaze".
            config: the resolved settings: a pydantic model, a dataclass or a mapping.
            seed: seed of the run, when it draws.
            device: where tensors live, such as "cpu" or "cuda:0".
            force: replace what an earlier run left in this folder.
            resume: keep what is there and continue.

        Raises:
            ConfigError: the folder holds something and neither `force` nor `resume` is given, both are given,
                or it cannot be written.
        """
        if force and resume:
            raise ConfigError(
                "--force and --resume exclude each other.", hint="Choose one: replace, or continue."
            )
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; a run needs a folder.", hint="Choose another --out.")
        if path.is_dir() and any(path.iterdir()) and not (force or resume):
            raise ConfigError(
                f"the folder {path} is not empty; nothing was overwritten.",
                hint="Choose another --out, or pass --force to replace the run in it.",
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            earlier = read_run(path) if resume and (path / "run.json").exists() else {}
            if force:
                _remove_earlier_run(path)
            record = {
                "command": command,
                "command_line": ["suffuse", *sys.argv[1:]],
                "state": "running",
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "wall_s": 0.0,
                "cpu_s": 0.0,
                "seed": seed,
                "device": device,
                "config": plain(config, "config"),
                **environment(),
                **loaded(),
                "files": earlier.get("files", []),
                "earlier": [*earlier.get("earlier", []), _summary(earlier)] if earlier else [],
            }
            run = cls(path, record)
            run._write_record()
        except OSError as err:
            raise ConfigError(
                f"cannot write to {path}: {err.strerror or err}.", hint="Choose another folder with --out."
            ) from err
        return run

    @property
    def record(self) -> Mapping[str, Any]:
        """What `run.json` holds, with times and versions as they are now."""
        times = {
            "wall_s": round(time.perf_counter() - self._wall, 3),
            "cpu_s": round(_cpu_s() - self._cpu, 3),
        }
        return self._record | times | loaded()

    def add(self, path: Path) -> Path:
        """Register a file that other code wrote into this folder, so that `--force` can replace it."""
        inside = path.resolve().relative_to(self.path.resolve()).as_posix()
        if inside not in self._record["files"]:
            self._record["files"] = sorted([*self._record["files"], inside])
        return path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one file whole, text in UTF-8; `name` may hold folders."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
        return self.add(target)

    def report(self, report: Mapping[str, Any]) -> Path:
        """Write `report.json`.

        Raises:
            NumericalError: a number is NaN or infinite; nothing is written.
        """
        return self.write("report.json", to_json(report))

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> Path:
        """Write `<name>.csv`: one column per entry, units in the names, None as an empty cell.

        Raises:
            NumericalError: a number is NaN or infinite; nothing is written.
        """
        lengths = {key: len(values) for key, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of {name} have different lengths: {lengths}")
        values = {key: plain(list(column), f"{name}.{key}") for key, column in columns.items()}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(values)
        writer.writerows(zip(*values.values(), strict=True))
        return self.write(f"{name}.csv", text.getvalue())

    def figure(
        self, name: str, figure: Figure, *, columns: Mapping[str, Sequence[Any]], dpi: float = 150
    ) -> Path:
        """Write a figure as `<name>.png` and the numbers it draws as `<name>.csv`; returns the picture."""
        self.table(name, columns)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=dpi, bbox_inches="tight")
        return self.write(f"{name}.png", picture.getvalue())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = (
            "done" if error is None else "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        )
        self._record = {**self.record, "state": state}
        if error is not None and not isinstance(error, KeyboardInterrupt):
            self._record["error"] = f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"What was done is in {self.path}.")
        self._write_record()

    def _write_record(self) -> None:
        write_atomic(self.path / "run.json", to_json(self._record, "run"))


def read_run(path: Path) -> dict[str, Any]:
    """Read the `run.json` of a run folder.

    Raises:
        DataError: the folder has none, or it cannot be read.
    """
    file = path / "run.json"
    if not file.is_file():
        raise DataError(
            f"{path} is not a run folder: it has no run.json.", hint="List them with: suffuse runs list"
        )
    try:
        record = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as err:
        raise DataError(f"cannot read {file}: {err}.") from err
    if not isinstance(record, dict):
        raise DataError(f"{file} holds a {type(record).__name__}, expected one JSON object.")
    return record


def write_atomic(target: Path, content: str | bytes) -> None:
    """Write a file under a temporary name and rename it, so that it is never seen half written."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run keeps of the part before it."""
    return {key: record.get(key) for key in ("started", "state", "wall_s", "cpu_s", "git_revision")}


def _remove_earlier_run(path: Path) -> None:
    """Remove the files that the `run.json` in this folder lists as its own, and that file."""
    if not (path / "run.json").is_file():
        return
    root = path.resolve()
    for name in read_run(path).get("files", []):
        file = (root / str(name)).resolve()
        if file.is_relative_to(root) and file.is_file():
            file.unlink()
    (path / "run.json").unlink()


def _cpu_s() -> float:
    """Processor time of this process and its finished children, in seconds."""
    return sum(os.times()[:4])
