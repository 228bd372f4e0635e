"""suffuse music train codec, dit, tagger and recogniser; distil."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.music_options import Codec, DryRun, given, ready_of
from apps.options import AsJson, Device, Force, Quiet, Resume, Seed

app = typer.Typer(no_args_is_help=True)
distil_app = typer.Typer()

Corpus = Annotated[Path, typer.Argument(help="Folder of a corpus.", show_default=False)]
Steps = Annotated[int | None, typer.Option("--steps", min=1, show_default="the recipe's")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, show_default="the recipe's")]
Rate = Annotated[float | None, typer.Option("--lr", show_default="the recipe's")]


def _out(name: str) -> Any:
    return typer.Option("--out", "-o", help="Run folder.", show_default=f"runs/music-{name}")


@app.command()
def codec(
    corpus: Corpus,
    out: Annotated[Path, _out("codec")] = Path("runs/music-codec"),
    preset: Annotated[str, typer.Option("--preset", help="tiny, small or base.")] = "small",
    steps: Steps = None,
    batch: Batch = None,
    lr: Rate = None,
    adversarial_steps: Annotated[
        int, typer.Option("--adversarial-steps", min=0, help="Then, of the decoder against a critic.")
    ] = 0,
    seed: Seed = 0,
    dry_run: DryRun = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a codec: waves to latents at 21.5 Hz and back."""
    from domains.music.workflows import train_codec_file

    config = given({"corpus": corpus, "preset": preset, "steps": steps, "batch": batch, "lr": lr})
    config |= {"adversarial_steps": adversarial_steps} if adversarial_steps else {}
    flags = {"dry_run": dry_run, "resume": resume, "force": force, "quiet": quiet, "as_json": as_json}
    with _claimed("train codec", out, config, seed, flags) as claim:
        report = train_codec_file(
            corpus,
            out,
            preset=preset,
            steps=steps,
            batch=batch,
            lr=lr,
            adversarial_steps=adversarial_steps,
            seed=seed,
            resume=resume,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    _show(report, out, as_json)


@app.command()
def dit(
    corpus: Corpus,
    out: Annotated[Path, _out("dit")] = Path("runs/music-dit"),
    codec: Codec = None,
    latents: Annotated[
        Path | None, typer.Option("--latents", help="Encoded corpus.", show_default="OUT/latents")
    ] = None,
    preset: Annotated[str, typer.Option("--preset", help="nano, tiny, small or a published one.")] = "tiny",
    stems: Annotated[
        int | None, typer.Option("--stems", min=1, max=2, help="2: voice and backing.", show_default="2")
    ] = None,
    alignment: Annotated[
        str | None, typer.Option("--alignment", help="sentence, word, none or mixed.", show_default="mixed")
    ] = None,
    steps: Steps = None,
    batch: Batch = None,
    lr: Rate = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a song model on latents, lyrics and tags; the corpus is encoded first."""
    from domains.music.workflows import train_song_file

    changes = given({"stems": stems, "alignment": alignment, "steps": steps, "batch": batch, "lr": lr})
    config = given({"corpus": corpus, "codec": codec, "latents": latents, "preset": preset}) | changes
    flags = {"dry_run": dry_run, "resume": resume, "force": force, "quiet": quiet, "as_json": as_json}
    with _claimed("train dit", out, config, seed, flags) as claim:
        report = train_song_file(
            corpus,
            out,
            codec=codec,
            latents=latents,
            preset=preset,
            changes=changes,
            seed=seed,
            device=device,
            resume=resume,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    _show(report, out, as_json)


@app.command()
def tagger(
    corpus: Corpus,
    out: Annotated[Path, _out("tagger")] = Path("runs/music-tagger"),
    steps: Steps = None,
    batch: Batch = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the tagger: the style of a wave, and the space of FAD-own."""
    from domains.music.workflows import train_tagger_file

    config = given({"corpus": corpus, "steps": steps, "batch": batch})
    flags = {"dry_run": dry_run, "resume": resume, "force": force, "quiet": quiet, "as_json": as_json}
    with _claimed("train tagger", out, config, seed, flags) as claim:
        report = train_tagger_file(
            corpus,
            out,
            steps=steps,
            batch=batch,
            seed=seed,
            resume=resume,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    _show(report, out, as_json)


@app.command()
def recogniser(
    corpus: Corpus,
    out: Annotated[Path, _out("recogniser")] = Path("runs/music-recogniser"),
    steps: Steps = None,
    batch: Batch = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the recogniser of sung phones."""
    from domains.music.workflows import train_recogniser_file

    config = given({"corpus": corpus, "steps": steps, "batch": batch})
    flags = {"dry_run": dry_run, "resume": resume, "force": force, "quiet": quiet, "as_json": as_json}
    with _claimed("train recogniser", out, config, seed, flags) as claim:
        report = train_recogniser_file(
            corpus,
            out,
            steps=steps,
            batch=batch,
            seed=seed,
            resume=resume,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    _show(report, out, as_json)


@distil_app.command()
def distil(
    corpus: Corpus,
    latents: Annotated[Path, typer.Option("--latents", help="Encoded corpus.", show_default=False)],
    out: Annotated[Path, _out("student")] = Path("runs/music-student"),
    model: Annotated[str, typer.Option("--model", help="The teacher.")] = "song",
    codec: Codec = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="cd or ctd: consistency, trajectory.", show_default="ctd")
    ] = None,
    calls: Annotated[int, typer.Option("--calls", min=1, help="Of the student a song, by default.")] = 4,
    steps: Steps = None,
    batch: Batch = None,
    lr: Rate = None,
    seed: Seed = 0,
    device: Device = "auto",
    dry_run: DryRun = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Distil a song model into a student that needs a few calls."""
    from core.errors import unknown
    from domains.music.workflows import distil_file

    kinds = {
        "cd": "consistency",
        "ctd": "trajectory",
        "consistency": "consistency",
        "trajectory": "trajectory",
    }
    if kind is not None and kind not in kinds:
        raise unknown("kind of distillation", kind, kinds)
    named = kinds[kind] if kind is not None else None
    changes = given({"kind": named, "steps": steps, "batch": batch, "lr": lr})
    config = given({"corpus": corpus, "latents": latents, "model": model, "calls": calls}) | changes
    flags = {"dry_run": dry_run, "resume": resume, "force": force, "quiet": quiet, "as_json": as_json}
    with _claimed("distil", out, config, seed, flags) as claim:
        report = distil_file(
            model,
            corpus,
            latents,
            out,
            changes=changes,
            jumps=calls,
            codec=codec,
            seed=seed,
            device=device,
            resume=resume,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    _show(report, out, as_json)


def _claimed(verb: str, out: Path, config: dict[str, Any], seed: int, flags: dict[str, bool]) -> Any:
    from apps.claim import claimed

    return claimed(
        out,
        command=f"music {verb}",
        config=config,
        seed=seed,
        force=flags["force"],
        resume=flags["resume"],
        quiet=flags["quiet"],
    )


def _show(report: dict[str, Any], folder: Path, as_json: bool) -> None:
    from apps.show import show

    show(report, as_json=as_json, folder=folder)
