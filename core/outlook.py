"""What stands between checking and writing: the outlook of a workflow, and the checks of its output.

A workflow reads and checks everything first, then tells its `ready` what it is about to do, and only then
writes. Whoever listens may show the plan and claim a folder there; a refusal before that moment leaves
nothing behind.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError, unknown

__all__ = ["Outlook", "Ready", "at_once", "check_output", "many"]


@dataclass(frozen=True)
class Outlook:
    """What a workflow is about to do.

    Attributes:
        plan: one line each: what is worked on, what it costs, where results go.
        warnings: what is doubtful about the input.
        device: where tensors will live.
    """

    plan: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    device: str = "cpu"


Ready = Callable[[Outlook], None]


def at_once(outlook: Outlook) -> None:
    """Listen to nothing: go ahead."""


def check_output(
    out: Path, suffixes: Collection[str], *, overwrite: bool, source: Path | None = None
) -> None:
    """Refuse an output before any work is done.

    Args:
        suffixes: what the result can be written as; "" is a folder of pictures.
        overwrite: an existing file may be replaced; a folder or the input never.
        source: the input.

    Raises:
        ConfigError: the output exists, is the input, has an extension that does not fit, or lies in a file.
    """
    suffix = ".nii.gz" if out.name.lower().endswith(".nii.gz") else out.suffix.lower()
    if suffix not in suffixes:
        raise unknown("output type", suffix or out.name, [name for name in suffixes if name])
    if source is not None and source.resolve() == out.resolve():
        raise ConfigError(f"{out} is the input; it is never overwritten.", hint="Choose another output.")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder that exists.", hint="Choose another output.")
    if out.exists() and not overwrite:
        raise ConfigError(
            f"{out} exists; nothing was overwritten.", hint="Choose another output, or pass --force."
        )
    blocked = next((folder for folder in out.parents if folder.exists()), None)
    if blocked is not None and not blocked.is_dir():
        raise ConfigError(f"{blocked} is a file; it cannot hold {out.name}.", hint="Choose another output.")


def many(n: int, word: str) -> str:
    """A count with its word: "1 frame", "2 frames"."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
