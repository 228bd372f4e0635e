"""Options of generation and of reading text that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from domains.language.formats.reading import Reading

__all__ = ["reading", "writing"]

Run = Annotated[
    str,
    typer.Argument(
        help="Run folder of a model, or one that ships: see 'suffuse language models'.", show_default=False
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        help="A text: a file, a folder, or a set such as english_grammar or books.", show_default=False
    ),
]
Plan = Annotated[
    str | None,
    typer.Option(help="unmask, first-hitting; remasking: cap, rescale, conf, loop.", show_default="unmask"),
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Rows of the plan; idle ones cost nothing.", show_default="128")
]
Order = Annotated[
    str | None,
    typer.Option(help="random, left, right, confidence, margin or entropy.", show_default="random"),
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Reveal all that is surer, with --order confidence.", show_default="off"),
]
Temperature = Annotated[float | None, typer.Option(help="0 takes the likeliest.", show_default="1")]
TopK = Annotated[int | None, typer.Option("--top-k", show_default="off")]
TopP = Annotated[float | None, typer.Option("--top-p", show_default="1")]
MinP = Annotated[float | None, typer.Option("--min-p", show_default="0")]
Repetition = Annotated[float | None, typer.Option(help="Penalty of repeated tokens.", show_default="1")]
Guidance = Annotated[float | None, typer.Option(help="How much the prompt is stressed.", show_default="0")]
SamplingDtype = Annotated[
    str | None,
    typer.Option("--sampling-dtype", help="fp64; fp32 repeats biased samplers.", show_default="fp64"),
]
Field = Annotated[str, typer.Option(help="Of JSON rows and columns: where the text is.")]
Unit = Annotated[str | None, typer.Option(help="A document is a line, paragraph or file.")]
Encoding = Annotated[str, typer.Option(help="Of text files.")]
Normalize = Annotated[bool, typer.Option("--normalize", help="Replace characters that the tokenizer lacks.")]
Folder = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default="beside OUT")]


def writing(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given, as fields of the settings."""
    return {key: value for key, value in given.items() if value is not None}


def reading(field: str, unit: str | None, encoding: str) -> "Reading":
    """How files are read."""
    from core.errors import unknown
    from domains.language.formats.reading import Reading

    if unit not in (None, "file", "line", "paragraph"):
        raise unknown("unit", unit, ("file", "line", "paragraph"))
    return Reading(field=field, unit=unit or "file", encoding=encoding)  # type: ignore[arg-type]
