"""suffuse music compose: a song from words and a style, the best of several if a search is asked for."""

from typing import Annotated

import typer

from apps.commands.music_making import make
from apps.commands.music_options import (
    AlignmentOption,
    Budget,
    Calibration,
    Codec,
    Depth,
    DryRun,
    Folder,
    GuidanceOption,
    Hymn,
    Language,
    Latents,
    Lrc,
    Lufs,
    LyricsGuidance,
    Model,
    Negative,
    NoTile,
    Out,
    Recogniser,
    SectionStyle,
    Solver,
    Stems,
    Steps,
    Strict,
    Style,
    StyleAudio,
    StyleGuidance,
    StyleLicence,
    Tagger,
    Verifiers,
    Warp,
    Weights,
)
from apps.options import AsJson, Device, Force, Quiet, Seed
from apps.search_options import SearchMethod, Second

app = typer.Typer()


@app.command()
def compose(
    context: typer.Context,
    out: Out,
    lrc: Lrc = None,
    hymn: Hymn = None,
    style: Style = "",
    style_audio: StyleAudio = None,
    style_audio_licence: StyleLicence = "not stated",
    style_weight: Annotated[float, typer.Option(help="Of the recording, beside words, 0 to 1.")] = 0.5,
    section_styles: SectionStyle = None,
    negative: Negative = "",
    style_folder: Weights = None,
    length_s: Annotated[
        float | None, typer.Option("--length", help="Seconds.", show_default="as the lyrics say")
    ] = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    alignment: AlignmentOption = None,
    strict: Strict = False,
    steps: Steps = None,
    solver: Solver = None,
    guidance: GuidanceOption = None,
    lyrics_guidance: LyricsGuidance = None,
    style_guidance: StyleGuidance = None,
    warp: Warp = None,
    overlap_s: Annotated[
        float | None,
        typer.Option("--overlap", help="Seconds that tiles share.", show_default="3, at most a quarter"),
    ] = None,
    no_tile: NoTile = False,
    search: SearchMethod = None,
    verifier: Verifiers = None,
    second: Second = None,
    budget: Budget = None,
    recogniser: Recogniser = "recogniser",
    tagger: Tagger = "tagger",
    calibration: Calibration = None,
    lufs: Lufs = None,
    depth: Depth = None,
    stems: Stems = True,
    latents: Latents = None,
    run: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compose a song from lyrics with time stamps and a style.

    --search 8 draws every tile eight times and keeps the one that the
    verifiers like best: words (the recogniser hears the lyrics) or style
    (the tagger hears the tags), by default both where there are any.

    A song chosen by the recogniser must not be reported by its phone errors,
    nor one chosen by the tagger by its style: evaluate leaves these out.
    """
    make(context, "compose")
