"""One run of a command: the plan first, then the folder, the work, and the report.

    with claimed(folder, command="ultrasound dehaze", config=config, seed=seed) as claim:
        report = dehaze_file(..., folder=folder, ready=claim.ready, progress=claim.progress)
        claim.report(report)

A workflow reads and checks its input before it calls `ready`. Only then is the plan shown and the run folder
made, so that a refused command leaves nothing behind, and `--force` loses no earlier run to a mistake. A run
that fails later and has written nothing takes its folder away again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from apps.progress import show_progress
from apps.runfolder import RunFolder
from apps.show import say
from core.errors import ConfigError
from core.progress import Progress, silent

__all__ = ["Claim", "claimed", "default_folder", "warn"]

# Extensions of recordings and checkpoints.
DATA = (".h5", ".hdf5", ".npz", ".safetensors")


class Outlook(Protocol):
    """What a workflow says before it starts."""

    @property
    def plan(self) -> Sequence[str]: ...

    @property
    def warnings(self) -> Sequence[str]: ...

    @property
    def device(self) -> str: ...


class Claim:
    """A folder that will be this run's as soon as the workflow is ready."""

    def __init__(self, folder: Path, stack: ExitStack, opening: Mapping[str, Any], *, quiet: bool) -> None:
        self.folder = folder
        self.run: RunFolder | None = None
        self._stack = stack
        self._opening = opening
        self._quiet = quiet
        self._progress: Progress = silent
        self._before: set[Path] = set()
        self._warned: list[str] = []
        self._made: list[Path] = []

    def ready(self, outlook: Outlook) -> None:
        """Show plan and warnings, and make the folder."""
        for line in outlook.plan:
            say(line, quiet=self._quiet)
        say(f"run folder: {self.folder}", quiet=self._quiet)
        self._warned = warn(outlook.warnings)
        self._before = set(_files(self.folder))
        self._made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.run = self._stack.enter_context(
            RunFolder.open(self.folder, device=outlook.device, **self._opening)
        )
        self._stack.callback(self._register)
        self._progress = self._stack.enter_context(show_progress(quiet=self._quiet))

    def progress(self, stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        """Pass on how far the work is."""
        self._progress(stage, done, total, metric)

    def report(self, report: Mapping[str, Any]) -> None:
        """Write `report.json`, and show the warnings that came up on the way."""
        assert self.run is not None, "the workflow never said that it was ready"
        self.run.report(report)
        warn([line for line in report.get("warnings", ()) if line not in self._warned])

    def _register(self) -> None:
        """Record what the workflow wrote into the folder as this run's own."""
        assert self.run is not None
        for path in _files(self.folder):
            if path not in self._before:
                self.run.add(path)

    def clean(self) -> bool:
        """Take the folder away if nothing but its record is in it; says whether it did."""
        if self.run is None or _files(self.folder) or not self.folder.is_dir():
            return False
        (self.folder / "run.json").unlink(missing_ok=True)
        for path in self._made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        return True


@contextmanager
def claimed(
    folder: Path,
    *,
    command: str,
    config: Any = None,
    seed: int | None = None,
    force: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> Iterator[Claim]:
    """Prepare a run; the arguments are those of `RunFolder.open`.

    Raises:
        ConfigError: the folder holds something already, and neither `force` nor `resume` is given, or it is a
            file or lies in one.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is a file; it cannot hold a run.", hint="Name a folder, new or empty.")
    if folder.is_dir() and any(folder.iterdir()) and not (force or resume):
        raise ConfigError(
            f"the run folder {folder} is not empty; nothing was overwritten.",
            hint="Name another with --run, or pass --force to replace the run in it.",
        )
    opening = {"command": command, "config": config, "seed": seed, "force": force, "resume": resume}
    claim: Claim | None = None
    try:
        with ExitStack() as stack:
            claim = Claim(folder, stack, opening, quiet=quiet)
            yield claim
    except BaseException as error:
        if claim is not None and claim.clean() and isinstance(error, KeyboardInterrupt):
            error.__notes__ = ["Nothing was written."]
        raise


def default_folder(out: Path) -> Path:
    """The run folder that belongs to an output.

    Data give it their name: "clean.hdf5" has "clean.run" beside it. What is made from data, such as pictures
    and reports, keeps its extension: "clean.png" has "clean.png.run", so that both can lie side by side.
    """
    return out.with_name(f"{out.stem if out.suffix.lower() in DATA else out.name}.run")


def warn(warnings: Sequence[str]) -> list[str]:
    """Show warnings on standard error, each once; returns them."""
    lines = list(dict.fromkeys(warnings))
    for line in lines:
        say(f"warning: {line}")
    return lines


def _files(folder: Path) -> list[Path]:
    """Files below a folder, but for the record."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / "run.json"]
