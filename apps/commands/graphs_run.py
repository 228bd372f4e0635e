"""suffuse graphs sample, animate and models: what a trained model draws."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.graphs_options import (
    Chunk,
    Out,
    Prior,
    Run,
    ScaleEps,
    Sizes,
    Snr,
    Solver,
    Steps,
    sampling,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()

Folder = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default="beside OUT")]


@app.command()
def sample(
    run: Run,
    out: Out,
    n: Annotated[int, typer.Option("--n", min=1, help="Graphs.")] = 100,
    solver: Solver = None,
    steps: Steps = None,
    prior: Prior = None,
    snr: Snr = None,
    scale_eps: ScaleEps = None,
    chunk: Chunk = None,
    sizes: Sizes = None,
    connected: Annotated[
        bool, typer.Option("--connected", help="Draw again what is in several parts, 10 times at most.")
    ] = False,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Sample graphs or molecules: a file, a picture, and how many are valid and unique."""
    from apps.claim import claimed
    from apps.show import show
    from domains.graphs.workflows import sample_file

    where = folder or out.with_name(f"{out.name}.run")
    settings = sampling(solver, steps, prior, snr, scale_eps, chunk)
    config = {"model": run, "n": n, "sizes": sizes, "connected": connected, **settings}
    with claimed(where, command="graphs sample", config=config, seed=seed, force=force, quiet=quiet) as claim:
        report = sample_file(
            run,
            out,
            count=n,
            settings=settings,
            sizes=sizes,
            connected=connected,
            seed=seed,
            device=device,
            overwrite=force,
            folder=where,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("sampling", "warnings")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=where)


@app.command()
def animate(
    run: Run,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="film.gif, or a new folder of pictures.", show_default=False),
    ],
    n: Annotated[int, typer.Option("--n", min=1, max=8, help="Graphs side by side.")] = 3,
    frames: Annotated[int, typer.Option(min=2, help="Pictures along the way.")] = 40,
    fps: Annotated[float, typer.Option(help="Pictures a second.")] = 12.0,
    solver: Solver = None,
    steps: Steps = None,
    prior: Prior = None,
    sizes: Sizes = None,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a film of graphs as they come out of noise."""
    from apps.claim import claimed
    from apps.show import show
    from domains.graphs.workflows import animate_file

    where = folder or out.with_name(f"{out.name}.run")
    settings = sampling(solver, steps, prior)
    config = {"model": run, "n": n, "frames": frames, "fps": fps, "sizes": sizes, **settings}
    with claimed(
        where, command="graphs animate", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = animate_file(
            run,
            out,
            count=n,
            frames=frames,
            fps=fps,
            settings=settings,
            sizes=sizes,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("sampling",)
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=where)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that ship, and what they score."""
    from apps.show import show
    from domains.graphs.weights import cards

    show({"models": cards()}, as_json=as_json)
