"""suffuse music lrc check, draft and fit: lyrics with time stamps."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.music_options import DryRun, Folder, Language, Strict, ready_of
from apps.options import AsJson, Force, Quiet

app = typer.Typer(no_args_is_help=True)

LrcOut = Annotated[Path, typer.Option("--out", "-o", help="Lyrics to write, .lrc.", show_default=False)]


@app.command()
def check(
    lrc: Annotated[Path, typer.Argument(help="Lyrics with time stamps.", show_default=False)],
    length: Annotated[
        float | None, typer.Option("--length", min=0.1, help="Of the song, s.", show_default=False)
    ] = None,
    alignment: Annotated[str, typer.Option("--alignment", help="sentence, word or none.")] = "sentence",
    language: Language = "en",
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Show lines, phones and frames, and everything that is doubtful."""
    from apps.claim import warn
    from apps.show import show
    from domains.music.workflows import check_lyrics

    report = check_lyrics(lrc, length_s=length, language=language, alignment=alignment, strict=strict)
    if not as_json:
        warn(report["warnings"])
        report = {key: value for key, value in report.items() if key not in ("warnings", "problems")}
    show(report, as_json=as_json)


@app.command()
def draft(
    words: Annotated[Path, typer.Argument(help="Plain words, one sung line a line.", show_default=False)],
    out: LrcOut,
    bpm: Annotated[float, typer.Option("--bpm", min=20, max=300, help="Beats a minute.")] = 96,
    bars: Annotated[
        int | None, typer.Option("--bars", min=1, help="Of the whole song.", show_default="as needed")
    ] = None,
    beats: Annotated[int, typer.Option("--beats", min=1, max=12, help="Beats a bar.")] = 4,
    intro: Annotated[int, typer.Option("--intro", min=0, help="Bars before the first line.")] = 1,
    gap: Annotated[int, typer.Option("--gap", min=0, help="Bars of an empty line.")] = 1,
    language: Language = "en",
    run: Folder = None,
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Propose stamps for plain words from their phones, a tempo and bars."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.workflows import draft_lyrics

    folder = run or default_folder(out)
    config = {"words": str(words), "bpm": bpm, "bars": bars, "beats": beats, "intro": intro, "gap": gap}
    with claimed(folder, command="music lrc draft", config=config, force=force, quiet=quiet) as claim:
        report = draft_lyrics(
            words,
            out,
            bpm=bpm,
            beats_per_bar=beats,
            bars=bars,
            intro_bars=intro,
            gap_bars=gap,
            language=language,
            overwrite=force,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command()
def fit(
    words: Annotated[Path, typer.Argument(help="Words as they are sung, .lrc or plain.", show_default=False)],
    recording: Annotated[
        Path, typer.Option("--in", help="The song, or its voice alone.", show_default=False)
    ],
    out: LrcOut,
    recogniser: Annotated[str, typer.Option("--recogniser", help="Folder of one.")] = "recogniser",
    word_stamps: Annotated[
        bool, typer.Option("--word-stamps/--no-word-stamps", help="A stamp for each word as well.")
    ] = True,
    language: Language = "en",
    run: Folder = None,
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find when a recording sings each line and word."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.workflows import fit_lyrics_file

    folder = run or default_folder(out)
    config = {"words": str(words), "recording": str(recording), "recogniser": recogniser}
    with claimed(folder, command="music lrc fit", config=config, force=force, quiet=quiet) as claim:
        report = fit_lyrics_file(
            words,
            recording,
            out,
            recogniser=recogniser,
            language=language,
            word_stamps=word_stamps,
            overwrite=force,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)
