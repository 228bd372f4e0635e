"""The log of a run: one line of JSON per logged step, each step once, however often the run was resumed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["RunLog"]


class RunLog:
    """Lines of JSON; a resumed run keeps the lines up to its step."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self.file = None
        if folder is None:
            return
        path = folder / "log.jsonl"
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text("".join(f"{line}\n" for line in kept))
        os.replace(temporary, path)
        self.file = open(path, "a", buffering=1)  # noqa: SIM115 (closed with the run)

    def write(self, entry: Mapping[str, float]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _lines(path: Path) -> list[str]:
    """Whole lines of a log; a killed run may have left a part of its last one."""
    if not path.exists():
        return []
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()
