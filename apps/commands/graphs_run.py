"""suffuse graphs sample and models: what needs a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()


@app.command()
def sample(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder or weights of a model, or one that ships: see 'suffuse graphs models'.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Molecules: .smi .csv .sdf .npz .pt; graphs: .npz .pt .edges.",
            show_default=False,
        ),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Graphs.")] = 100,
    solver: Annotated[
        str | None,
        typer.Option(help="s4, em, reverse, ode, default or ancestral.", show_default="the model's"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, show_default="the model's")] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="normal, or matched: better with few steps.", show_default="the model's"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--run", help="Run folder.", show_default="beside OUT")
    ] = None,
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
    config = {"model": run, "n": n, "solver": solver, "steps": steps, "prior": prior}
    with claimed(where, command="graphs sample", config=config, seed=seed, force=force, quiet=quiet) as claim:
        report = sample_file(
            run,
            out,
            count=n,
            solver=solver,
            steps=steps,
            prior=prior,
            seed=seed,
            device=device,
            overwrite=force,
            folder=where,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    brief = {key: value for key, value in report.items() if key != "sampling"}
    show(report if as_json else brief, as_json=as_json, folder=where)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that ship, and what they score."""
    from apps.show import show
    from domains.graphs.weights import cards

    show({"models": cards()}, as_json=as_json)
