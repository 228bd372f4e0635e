"""The `suffuse` command: its groups, and what happens when something goes wrong.

One line per group below; a group is a module of `apps/commands` with `app = typer.Typer()`, which imports
nothing heavy before one of its commands runs.
"""

import functools
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.main

from apps.commands import bench, data, demo, doctor, graphs, language, music, runs, timeseries, ultrasound
from core.errors import SuffuseError

__all__ = ["app", "main", "run"]

app = typer.Typer(name="suffuse", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(ultrasound.app, name="ultrasound", help="Dehaze, beamform and measure medical ultrasound.")
app.add_typer(ultrasound.app, name="us", hidden=True)
app.add_typer(timeseries.app, name="timeseries", help="Forecast, impute and measure time series.")
app.add_typer(timeseries.app, name="ts", hidden=True)
app.add_typer(graphs.app, name="graphs", help="Prepare, measure and draw graphs and molecules.")
app.add_typer(language.app, name="language", help="Write, fill in and score text by discrete diffusion.")
app.add_typer(language.app, name="lang", hidden=True)
app.add_typer(music.app, name="music", help="Compose, edit and control songs from lyrics and a style.")
app.add_typer(demo.app)
app.add_typer(bench.app)
app.add_typer(data.app, name="data", help="List, find, check and fetch datasets.")
app.add_typer(runs.app, name="runs", help="List run folders and show what a run did.")
app.add_typer(doctor.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from apps.environment import version_of

        print(f"suffuse {version_of('suffuse') or '(not installed)'}")
        raise typer.Exit


@app.callback()
def suffuse(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")
    ] = False,
) -> None:
    """Diffusion models for the sciences: each group below is one field or one service."""


@functools.cache
def _command() -> Any:
    """The command that `app` describes. Making it reads every signature there is, 0.2 s of a core."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and turn every outcome into an exit code.

    Args:
        arguments: the words after the program's name; `--debug` may stand anywhere among them.

    Returns:
        0 done, 1 to 5 as `core.errors` lists them, 130 after Ctrl-C.
    """
    debug = "--debug" in arguments
    try:
        _command()([word for word in arguments if word != "--debug"], prog_name="suffuse")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == 130:
            _print_interrupt(end)
        return code
    except SuffuseError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
            return 1
        said = str(error).strip().splitlines()
        print(f"error: {type(error).__name__}: {said[0] if said else '(no message)'}", file=sys.stderr)
        print("  This is a fault of the program; run again with --debug to see where.", file=sys.stderr)
        return 1
    return 0


def _print_interrupt(end: BaseException) -> None:
    """Say that the run was interrupted, with the notes workflows left on the way, such as the checkpoint."""
    print("interrupted.", file=sys.stderr)
    cause: BaseException | None = end
    while cause is not None:
        for note in getattr(cause, "__notes__", []):
            print(f"  {note}", file=sys.stderr)
        cause = cause.__cause__ or cause.__context__


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
