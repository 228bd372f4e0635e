"""suffuse music relyric, accompany, variation and reproduce: one part of a song anew, all of it, or none."""

from pathlib import Path
from typing import Annotated

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
    Hymn,
    Language,
    Lrc,
    Model,
    Out,
    Source,
    Span,
    Stems,
    Steps,
    Strict,
    Style,
    Voice,
    ready_of,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()


@app.command()
def relyric(
    context: typer.Context,
    source: Source,
    out: Out,
    lrc: Annotated[Path | None, typer.Option("--lrc", help="The new words.", show_default=False)] = None,
    hymn: Hymn = None,
    spans: Span = None,
    style: Style = "",
    voice: Voice = None,
    backing: Backing = None,
    model: Model = "song",
    codec: Codec = None,
    language: Language = "en",
    alignment: AlignmentOption = None,
    strict: Strict = False,
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
    """Sing other words on the same accompaniment; needs its two stems."""
    if not words_of(lrc, hymn):
        from core.errors import ConfigError

        raise ConfigError("new words are missing.", hint="Give them with --lrc or --hymn.")
    make(context, "relyric")


@app.command()
def accompany(
    context: typer.Context,
    source: Source,
    out: Out,
    style: Style = "",
    spans: Span = None,
    lrc: Lrc = None,
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
    """Play other music under the same voice; needs its two stems."""
    make(context, "accompany")


@app.command()
def variation(
    context: typer.Context,
    source: Source,
    out: Out,
    strength: Annotated[float, typer.Option("--strength", help="Noise to begin from, over 0 to 1.")] = 0.6,
    style: Style = "",
    lrc: Lrc = None,
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
    """Make the song again, from as much noise as asked."""
    make(context, "variation")


@app.command()
def reproduce(
    sidecar: Annotated[Path, typer.Argument(help="The .json beside a generated song.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="New copy.", show_default="SONG-again beside it")
    ] = None,
    run: Folder = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default="the first one's"),
    ] = None,
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a song again from its sidecar; on a CPU the samples are the same to the last bit."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.workflows import reproduce_file

    song = sidecar.with_suffix("")
    target = out or song.with_name(f"{song.stem}-again{song.suffix}")
    folder = run or default_folder(target)
    config = {"sidecar": str(sidecar)}
    with claimed(folder, command="music reproduce", config=config, force=force, quiet=quiet) as claim:
        report = reproduce_file(
            sidecar,
            target,
            device=device,
            overwrite=force,
            folder=folder,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)
