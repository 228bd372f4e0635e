"""suffuse bench: the measured studies, with their settings and yardsticks, as JSON."""

from pathlib import Path
from typing import Annotated

import typer

from apps.options import AsJson, DataDir, Quiet

app = typer.Typer()


@app.command()
def bench(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for ultrasound.json.")] = Path(
        "runs/bench"
    ),
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A study to run; may be given several times.")
    ] = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the measured studies of the shipped models; about 20 minutes on two cores.

    Studies that are not run keep the results that are in the folder.
    """
    from apps.bench import run_bench
    from apps.progress import show_progress
    from apps.show import show

    with show_progress(quiet=quiet) as progress:
        report = run_bench(out, only=only or [], data_dir=data_dir, progress=progress)
    show(report, as_json=as_json, folder=out)
