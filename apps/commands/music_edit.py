"""suffuse music edit, extend and loop: stretches of a song drawn anew, the rest as it was to the last bit."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.music_making import make, words_of
from apps.commands.music_options import (
    AlignmentOption,
    Backing,
    Codec,
    Depth,
    DryRun,
    Folder,
    GuidanceOption,
    Language,
    Lrc,
    Model,
    Negative,
    NoTile,
    Out,
    Solver,
    Source,
    Span,
    Stems,
    Steps,
    Strict,
    Style,
    Voice,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()


@app.command()
def edit(
    context: typer.Context,
    source: Source,
    out: Out,
    spans: Span = None,
    lrc: Lrc = None,
    style: Style = "",
    negative: Negative = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    alignment: AlignmentOption = None,
    strict: Strict = False,
    steps: Steps = None,
    solver: Solver = None,
    guidance: GuidanceOption = None,
    no_tile: NoTile = False,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw spans of a song anew; the rest keeps every bit of its wave, beyond fades of 20 ms."""
    make(context, "edit")


@app.command()
def extend(
    context: typer.Context,
    source: Source,
    out: Out,
    left_s: Annotated[float, typer.Option("--left", min=0, help="Seconds before the beginning.")] = 0.0,
    right_s: Annotated[float, typer.Option("--right", min=0, help="Seconds after the end.")] = 0.0,
    lrc: Lrc = None,
    style: Style = "",
    negative: Negative = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    strict: Strict = False,
    steps: Steps = None,
    solver: Solver = None,
    guidance: GuidanceOption = None,
    no_tile: NoTile = False,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on after the end of a song, or begin before its beginning; stamps are those of the new song."""
    make(context, "extend", shift_s=left_s)


@app.command()
def loop(
    context: typer.Context,
    source: Source,
    out: Out,
    seam_s: Annotated[float, typer.Option("--seam", help="Seconds drawn anew around the turn.")] = 2.0,
    bars: Annotated[int | None, typer.Option("--bars", min=1, help="Take so many bars of the song.")] = None,
    bpm: Annotated[
        float | None,
        typer.Option("--bpm", min=20, max=300, help="For --bars.", show_default="as the lyrics say"),
    ] = None,
    beats: Annotated[int, typer.Option("--beats", min=1, max=12, help="Beats a bar.")] = 4,
    start: Annotated[float, typer.Option("--start", min=0, help="Where the bars begin, s.")] = 0.0,
    lrc: Lrc = None,
    style: Style = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    steps: Steps = None,
    guidance: GuidanceOption = None,
    depth: Depth = None,
    stems: Stems = True,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a song, or some bars of it, lead back into its own beginning."""
    used = ("bars", "bpm", "beats", "start")
    if bars is None:
        make(context, "loop", without=used)
        return
    crop: dict[str, Any] = {"crop": _bars(source, words_of(lrc), bars, bpm, beats, start)}
    make(context, "loop", fields=crop, without=used, shift_s=-start)


def _bars(
    source: Path, words: str, bars: int, bpm: float | None, beats: int, start: float
) -> tuple[float, float]:
    """Seconds of the bars that a loop takes."""
    from core.errors import ConfigError
    from domains.music.lrc import parse
    from domains.music.lrc.draft import seconds_of_bars
    from domains.music.workflows import inherited

    lyrics = words or str(inherited({"source": source})[0].get("lyrics", ""))
    found = bpm if bpm is not None else _number(parse(lyrics)[0].meta.get("bpm"))
    if found is None:
        raise ConfigError("bars need a tempo.", hint="Give --bpm, or [bpm:...] in the lyrics.")
    return start, start + seconds_of_bars(bars, found, beats)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None
