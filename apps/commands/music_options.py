"""Options that several music commands share, and the dry run: the plan alone, nothing written."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from apps.claim import Claim
    from core.outlook import Outlook, Ready

__all__ = ["given", "ready_of", "sampling_of", "sections_from", "spans_from"]

Model = Annotated[
    str, typer.Option("--model", help="Run folder or file of a song model, or one that ships: song, student.")
]
Codec = Annotated[
    str | None,
    typer.Option("--codec", help="Folder or file of a codec.", show_default="the one beside the model"),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Song to write: .flac, .wav, .mp3 or .ogg.", show_default=False)
]
Source = Annotated[Path, typer.Option("--in", help="Recording to work on.", show_default=False)]
Span = Annotated[
    list[str] | None,
    typer.Option("--span", help="start:end in seconds, may be repeated; :5 and 90: are edges."),
]
Lrc = Annotated[
    Path | None, typer.Option("--lrc", help="Lyrics with time stamps.", show_default="instrumental")
]
Hymn = Annotated[
    str | None, typer.Option("--hymn", help="Lyrics that ship, such as amazing-grace.", show_default=False)
]
Style = Annotated[str, typer.Option("--style", help='Words by comma: "piano, slow, female".')]
StyleAudio = Annotated[
    Path | None, typer.Option("--style-audio", help="Recording whose style is taken.", show_default=False)
]
StyleLicence = Annotated[
    str, typer.Option("--style-audio-licence", help="Licence of that recording, for the sidecar.")
]
Negative = Annotated[str, typer.Option("--negative", help="Style to lead away from.")]
SectionStyle = Annotated[
    list[str] | None,
    typer.Option("--section-style", help='"chorus=organ, fast"; may be repeated.', show_default=False),
]
Language = Annotated[str, typer.Option("--language", help="Of the lyrics: en, de, es, fr, it or pt.")]
AlignmentOption = Annotated[
    str | None, typer.Option("--alignment", help="sentence, word or none.", show_default="the model's")
]
Strict = Annotated[bool, typer.Option("--strict", help="Problems of the lyrics are errors.")]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Of the solver.", show_default="the model's")
]
Solver = Annotated[
    str | None,
    typer.Option(
        "--solver", help="euler, midpoint, heun, rk4, ddim, dpmpp, adams.", show_default="the model's"
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance", min=0, help="Weight of lyrics and style; 1: none.", show_default="the model's"
    ),
]
LyricsGuidance = Annotated[
    float | None, typer.Option("--lyrics-guidance", min=0, help="Of the lyrics alone.", show_default=False)
]
StyleGuidance = Annotated[
    float | None, typer.Option("--style-guidance", min=0, help="Of the style alone.", show_default=False)
]
Warp = Annotated[
    float | None,
    typer.Option("--warp", help="Over 1: more steps near the noise.", show_default="the model's"),
]
Lufs = Annotated[
    float | None, typer.Option("--lufs", help="Scale to this loudness, such as -14.", show_default="off")
]
Depth = Annotated[str | None, typer.Option("--depth", help="16, 24 or 32f bits a sample.", show_default="16")]
Stems = Annotated[bool, typer.Option("--stems/--no-stems", help="Write voice and backing as well.")]
Latents = Annotated[
    Path | None, typer.Option("--latents", help="Write the latents here, .safetensors.", show_default=False)
]
NoTile = Annotated[bool, typer.Option("--no-tile", help="Refuse songs longer than the model's canvas.")]
Weights = Annotated[
    Path | None,
    typer.Option("--style-weights", "--clap", "--mulan", help="Folder of CLAP or MuLan weights."),
]
Voice = Annotated[
    Path | None, typer.Option("--voice", help="The recording's voice alone.", show_default="beside it")
]
Backing = Annotated[
    Path | None,
    typer.Option("--backing", help="The recording's accompaniment alone.", show_default="beside it"),
]
Verifiers = Annotated[
    list[str] | None,
    typer.Option(
        "--verifier",
        help="words or style; several, repeated or by comma, count by mean rank.",
        show_default="those that apply",
    ),
]
Budget = Annotated[
    int | None,
    typer.Option("--budget", help="Evaluations of the guided model a tile.", show_default="16 runs"),
]
Recogniser = Annotated[str, typer.Option("--recogniser", help="Folder or file; else the shipped one.")]
Tagger = Annotated[str, typer.Option("--tagger", help="Folder or file; else the shipped one.")]
Calibration = Annotated[
    Path | None,
    typer.Option("--calibration", help="Run folder of calibrate.", show_default="the shipped one"),
]
Folder = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default="beside OUT")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, show the plan, write nothing.")]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given; paths as text."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in options.items()
        if value is not None
    }


def ready_of(claim: "Claim", *, dry_run: bool, as_json: bool) -> "Ready":
    """What a workflow calls before it writes: claim the folder, or show the plan and stop there."""

    def stop(outlook: "Outlook") -> None:
        from apps.claim import warn
        from apps.show import show

        if as_json:
            plan = {"dry_run": True, "plan": list(outlook.plan), "warnings": list(outlook.warnings)}
            show({**plan, "device": outlook.device}, as_json=True)
        else:
            print("\n".join(outlook.plan))
            warn(outlook.warnings)
            print("dry run: nothing was written.")
        raise typer.Exit

    return stop if dry_run else claim.ready


def sampling_of(
    *,
    steps: int | None = None,
    solver: str | None = None,
    guidance: float | None = None,
    lyrics_guidance: float | None = None,
    style_guidance: float | None = None,
    warp: float | None = None,
) -> dict[str, Any]:
    """Options of sampling as fields of `domains.music.config.Sampling`."""
    found = {
        "steps": steps,
        "solver": solver,
        "lyrics": lyrics_guidance if lyrics_guidance is not None else guidance,
        "style": style_guidance if style_guidance is not None else guidance,
        "warp": warp,
    }
    return {key: value for key, value in found.items() if value is not None}


def spans_from(words: list[str] | None) -> list[tuple[float, float]]:
    """Spans of "12.5:18"; an empty side or -1 is the edge of the song.

    Raises:
        ConfigError: not of that form; the words are named.
    """
    from core.errors import ConfigError

    spans = []
    for word in words or []:
        start, colon, end = word.partition(":")
        try:
            if not colon:
                raise ValueError
            spans.append((float(start or -1), float(end or -1)))
        except ValueError as err:
            raise ConfigError(
                f"'{word}' is no span.",
                hint="Write start:end in seconds, as in --span 12.5:18; :5 and 90: work.",
            ) from err
    return spans


def sections_from(words: list[str] | None) -> dict[str, str]:
    """Styles by section from "chorus=organ, fast".

    Raises:
        ConfigError: not of that form.
    """
    from core.errors import ConfigError

    found = {}
    for word in words or []:
        name, equals, style = word.partition("=")
        if not equals or not name.strip() or not style.strip():
            raise ConfigError(
                f"'{word}' is no style of a section.", hint='Write --section-style "chorus=organ, fast".'
            )
        found[name.strip().lower()] = style.strip()
    return found
