"""suffuse music data render and import: corpora to learn from."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.music_options import DryRun, ready_of
from apps.options import AsJson, Force, Quiet, Resume, Seed

app = typer.Typer(no_args_is_help=True)

Corpus = Annotated[Path, typer.Option("--out", "-o", help="Folder of the corpus.", show_default=False)]
RunDir = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default="OUT.run")]


@app.command()
def render(
    out: Corpus,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="Of song; half as long on a core.")
    ] = 90.0,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", help="Hymns as JSON.", show_default="hymns_cc0, else a few tunes"),
    ] = None,
    run: RunDir = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Render songs from hymn scores: a synthetic corpus with exact words, phones, beats and stems."""
    from apps.claim import claimed
    from apps.show import show
    from domains.music.workflows import render_songs

    folder = run or out.with_name(f"{out.name}.run")
    config = {"out": str(out), "minutes": minutes, "scores": str(scores) if scores else None}
    with claimed(
        folder, command="music data render", config=config, seed=seed, force=force, resume=resume, quiet=quiet
    ) as claim:
        report = render_songs(
            out,
            minutes=minutes,
            scores=scores,
            seed=seed,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Recordings with same-stem .lrc and .txt, or JamendoLyrics.", show_default=False),
    ],
    out: Corpus,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Take songs under NC or ND terms too.")
    ] = False,
    held: Annotated[
        float, typer.Option("--held", min=0, max=0.4, help="Share for validation, and for the test.")
    ] = 0.1,
    run: RunDir = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Import your own recordings with their lyrics and style words."""
    from apps.claim import claimed
    from apps.show import show
    from domains.music.workflows import import_songs

    folder = run or out.with_name(f"{out.name}.run")
    config = {"source": str(source), "out": str(out), "accept_licence": accept_licence, "held": held}
    with claimed(
        folder, command="music data import", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = import_songs(
            source,
            out,
            accept_licence=accept_licence,
            held=held,
            seed=seed,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)
