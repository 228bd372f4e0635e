"""suffuse music calibrate and evaluate: which metrics carry information, and what songs score."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.music_options import Calibration, Codec, DryRun, Recogniser, Tagger, ready_of
from apps.options import AsJson, Force, Quiet, Seed

app = typer.Typer()

SUITES = ("song", "codec", "control", "edit", "cost")


@app.command()
def calibrate(
    corpus: Annotated[
        Path, typer.Argument(help="A corpus; its test songs are the real ones.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = Path("runs/music-calibration"),
    recogniser: Recogniser = "recogniser",
    tagger: Tagger = "tagger",
    codec: Annotated[
        str, typer.Option("--codec", help="Whose reconstruction is a row; none leaves it out.")
    ] = "codec",
    songs: Annotated[int, typer.Option("--songs", min=4, help="Test songs at most.")] = 24,
    seed: Seed = 0,
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure every metric on rows whose order is known; evaluate asks for this first."""
    from apps.claim import claimed
    from apps.show import show
    from domains.music.workflows import calibrate_file

    config = {
        "corpus": str(corpus),
        "recogniser": recogniser,
        "tagger": tagger,
        "codec": codec,
        "songs": songs,
    }
    with claimed(out, command="music calibrate", config=config, seed=seed, force=force, quiet=quiet) as claim:
        report = calibrate_file(
            corpus,
            out,
            recogniser=recogniser,
            tagger=tagger,
            codec=None if codec == "none" else codec,
            songs=songs,
            seed=seed,
            ready=ready_of(claim, dry_run=dry_run, as_json=as_json),
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=out)


@app.command()
def evaluate(
    songs: Annotated[
        list[Path], typer.Argument(help="Songs, or recordings for the codec.", show_default=False)
    ],
    suite: Annotated[str, typer.Option("--suite", help="song, codec, control, edit or cost.")] = "song",
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Corpus whose test songs are the reference.", show_default=False),
    ] = None,
    calibration: Calibration = None,
    recogniser: Recogniser = "recogniser",
    tagger: Tagger = "tagger",
    codec: Codec = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder.")] = Path("runs/music-evaluate"),
    report: Annotated[
        Path | None, typer.Option("--report", help="Page to write, .html.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option("--device", help="Of the suite cost: auto, cpu, cuda.")] = "auto",
    dry_run: DryRun = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score songs beside the rows of a calibration, or what else they are asked about.

    song: words, style, distances, key, tempo and beats. codec: recordings
    made again. control: figures before and after. edit: seams at borders.
    cost: seconds, calls and memory of making each song once more.
    """
    from apps.claim import claimed
    from apps.show import show
    from core.errors import ConfigError, unknown
    from core.outlook import Outlook, check_output
    from domains.music import workflows

    if suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    if suite == "song" and against is None:
        raise ConfigError("songs are scored against a corpus.", hint="Name one with --against.")
    if report is not None:
        check_output(report, (".html",), overwrite=force)
    config = {"songs": [str(song) for song in songs], "suite": suite, "against": str(against)}
    with claimed(out, command="music evaluate", config=config, seed=seed, force=force, quiet=quiet) as claim:
        ready = ready_of(claim, dry_run=dry_run, as_json=as_json)
        found: dict[str, Any]
        if suite == "song":
            assert against is not None
            found = workflows.evaluate_songs(
                songs,
                against,
                recogniser=recogniser,
                tagger=tagger,
                calibration=calibration,
                seed=seed,
                ready=ready,
                progress=claim.progress,
            )
        elif suite == "codec":
            found = workflows.evaluate_codec(
                songs, codec=codec, seed=seed, ready=ready, progress=claim.progress
            )
        elif suite == "cost":
            found = workflows.evaluate_cost(songs, device=device, ready=ready, progress=claim.progress)
        elif suite == "edit":
            ready(Outlook((f"measure the seams of {len(songs)} songs",)))
            found = workflows.evaluate_edits(songs, seed=seed)
        else:
            ready(Outlook((f"read the control figures of {len(songs)} songs",)))
            found = workflows.evaluate_control(songs, seed=seed)
        claim.report(found)
        if report is not None:
            assert claim.run is not None
            _write_page(report, suite, found, claim.run.record)
    show(found, as_json=as_json, folder=out)


def _write_page(path: Path, suite: str, found: dict[str, Any], record: Any) -> None:
    """The table of an evaluation as one HTML page."""
    from apps.report import Column, Page, Row, Section, Table, render, run_footer
    from apps.runfolder import write_atomic

    rows = found["rows"]
    first = next(iter(rows[0]))
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != first]
    cells = tuple(Row(str(row[first]), tuple(row.get(name) for name in names)) for row in rows)
    table = Table(tuple(Column(name) for name in names), cells, "\n".join(found.get("warnings", ())), first)
    text = (
        "Each cell is a value, its 95 % interval by bootstrap, and n. The default corpus is synthetic: a "
        "speech synthesiser that is made to sing."
    )
    page = Page(
        f"Music: {suite}",
        "Scores beside rows whose order is known.",
        (Section("Scores", text, tables=(table,)),),
        run_footer(record, disclaimer="Generated audio."),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, render(page))
