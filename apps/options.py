"""Options that mean the same in every command, so that they are spelt and explained once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "DataDir", "Device", "Force", "Quiet", "Resume", "Seed"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of datasets, searched first.", show_default=False)
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the run that is in the folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no plan on standard error.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run that is in the folder.")]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same output.")]
