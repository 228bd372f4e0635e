"""suffuse runs: list run folders and show what a run did."""

from pathlib import Path
from typing import Annotated

import typer

from apps.options import AsJson

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_runs(
    root: Annotated[Path, typer.Argument(help="Folder to search for run folders.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs below a folder, the latest first."""
    from apps.runfolder import read_run
    from apps.show import show
    from core.errors import DataError

    if not root.is_dir():
        raise DataError(
            f"the folder {root} does not exist.", hint="Runs go to 'runs' unless --out says otherwise."
        )
    rows = []
    for file in root.rglob("run.json"):
        record = read_run(file.parent)
        row = {key: record.get(key) for key in ("started", "command", "state", "wall_s", "seed", "device")}
        rows.append({"folder": str(file.parent)} | row)
    rows.sort(key=lambda row: str(row["started"]), reverse=True)
    if rows or as_json:
        show({"runs": rows}, as_json=as_json)
    else:
        print(f"No runs below {root}.")


@app.command("show")
def show_run(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: AsJson = False,
) -> None:
    """Show how a run was made and what it reported."""
    import json

    from apps.runfolder import read_run
    from apps.show import show
    from core.errors import DataError

    record = read_run(folder)
    report = folder / "report.json"
    try:
        result = json.loads(report.read_text("utf-8")) if report.is_file() else {}
    except ValueError as err:
        raise DataError(f"cannot read {report}: {err}.") from err
    if as_json:
        show({"run": record, "report": result}, as_json=True)
        return
    show({key: value for key, value in record.items() if value not in ({}, [], None)}, title="run")
    if result:
        show(result, title="report", folder=folder)
    else:
        print(f"{folder} has no report.json: the run is {record.get('state', 'of unknown state')}.")
