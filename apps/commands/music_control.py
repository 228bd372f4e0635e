"""suffuse music control: a song whose noise is moved until it does what is asked."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.music_options import (
    Codec,
    Depth,
    DryRun,
    Folder,
    GuidanceOption,
    Hymn,
    Language,
    Lrc,
    Lufs,
    Model,
    Negative,
    Out,
    Stems,
    Steps,
    Style,
    given,
    ready_of,
    sampling_of,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()


@app.command()
def control(
    out: Out,
    intensity: Annotated[
        str | None,
        typer.Option("--intensity", help="crescendo, decrescendo, swell, dip, or a CSV of seconds,dB."),
    ] = None,
    melody: Annotated[Path | None, typer.Option("--melody", help="A tune as MIDI.")] = None,
    voice: Annotated[
        int | None, typer.Option("--voice", min=1, help="Of the MIDI; else its top line.")
    ] = None,
    structure: Annotated[str | None, typer.Option("--structure", help="A form such as ABA.")] = None,
    similar: Annotated[
        str | None,
        typer.Option("--similar", help="Style words that the tagger shall hear; needs --space wave."),
    ] = None,
    loop: Annotated[
        float | None, typer.Option("--loop", help="Seconds of the end that are as the beginning.")
    ] = None,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="Of Adam.")] = 80,
    surrogate: Annotated[
        int,
        typer.Option(
            "--surrogate", min=1, help="Steps that gradients pass; with --model song all of them is DITTO."
        ),
    ] = 1,
    lr: Annotated[float, typer.Option("--lr", help="Of Adam, in deviations of the noise.")] = 1e-2,
    norm_weight: Annotated[
        float, typer.Option("--norm-weight", min=0, help="Keeps the noise as long as it is.")
    ] = 0.0,
    space: Annotated[str, typer.Option("--space", help="wave, or spec: cheaper.")] = "spec",
    lrc: Lrc = None,
    hymn: Hymn = None,
    style: Style = "",
    negative: Negative = "",
    length: Annotated[
        float | None, typer.Option("--length", help="Seconds.", show_default="one canvas of the model")
    ] = None,
    model: Model = "student",
    codec: Codec = None,
    language: Language = "en",
    steps: Steps = None,
    guidance: GuidanceOption = None,
    lufs: Lufs = None,
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
    """Make a song follow a loudness curve, a tune, a form or a style, by optimising its noise."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.config import checked
    from domains.music.request import SongRequest
    from domains.music.workflows import Asked, Writing, control_file, lyrics_text

    asked = Asked(
        loudness=intensity,
        melody=str(melody) if melody else None,
        voice=voice,
        structure=structure,
        similar=similar,
        loop_s=loop,
        surrogate=surrogate,
        iterations=iterations,
        lr=lr,
        norm_weight=norm_weight,
        space=space,
    )
    fields = given(
        {"style": style, "negative": negative, "language": language, "codec": codec, "model": model}
    )
    request = checked(
        SongRequest,
        {
            "operation": "control",
            "lyrics": lyrics_text(lrc, hymn),
            "length_s": length,
            "sampling": sampling_of(steps=steps, guidance=guidance),
            "targets": given(vars(asked)),
            "seed": seed,
            "device": device,
            **fields,
        },
    )
    folder = run or default_folder(out)
    config = request.model_dump(mode="json")
    with claimed(
        folder, command="music control", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = control_file(
            request,
            asked,
            Writing(out, lufs=lufs, depth=depth, stems=stems, overwrite=force),
            folder=folder,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("samples_sha256", "warnings", "notes")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=folder)
