"""suffuse music encode and decode: recordings to latents and back."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.music_options import Codec, Depth, DryRun, Folder, Lufs, ready_of
from apps.options import AsJson, Device, Force, Quiet

app = typer.Typer()


@app.command()
def encode(
    source: Annotated[Path, typer.Argument(help="Recording, or the folder of a corpus.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help=".safetensors; of a corpus a folder of latents.", show_default=False
        ),
    ],
    codec: Codec = None,
    run: Folder = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Encode a recording, or every song of a corpus, as standardised latents."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.workflows import encode_file, encode_folder

    folder = run or (out.with_name(f"{out.name}.run") if source.is_dir() else default_folder(out))
    config = {"source": str(source), "codec": codec}
    with claimed(folder, command="music encode", config=config, force=force, quiet=quiet) as claim:
        ready = ready_of(claim, dry_run=dry_run, as_json=as_json)
        if source.is_dir():
            report = encode_folder(source, out, codec=codec, ready=ready, progress=claim.progress)
        else:
            report = encode_file(source, out, codec=codec, device=device, overwrite=force, ready=ready)
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(help="File of latents.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help=".flac, .wav, .mp3 or .ogg.", show_default=False)],
    codec: Codec = None,
    depth: Depth = None,
    lufs: Lufs = None,
    run: Folder = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a wave of latents; stems are added up."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.music.workflows import decode_file

    folder = run or default_folder(out)
    config = {"source": str(source), "codec": codec}
    with claimed(folder, command="music decode", config=config, force=force, quiet=quiet) as claim:
        report = decode_file(
            source,
            out,
            codec=codec,
            depth=depth,
            lufs=lufs,
            device=device,
            overwrite=force,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)
