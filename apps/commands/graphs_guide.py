"""suffuse graphs guide and scaffold: samples with wished-for properties or parts."""

from pathlib import Path
from typing import Annotated, Any

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
    words_of,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

app = typer.Typer()

Folder = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default="beside OUT")]


@app.command()
def guide(
    run: Run,
    out: Out,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            help="qed=0.9; with a predictor also qed, sa=min. Several: AND.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(help="Of what the model is told, or w0 of a predictor.", show_default="2, or 0.5"),
    ] = None,
    predictor: Annotated[
        Path | None,
        typer.Option(help="Folder of 'suffuse graphs train-property'.", show_default="the model is told"),
    ] = None,
    ood: Annotated[
        float,
        typer.Option("--lambda", help="In [0, 1): weakens the model's own score beside a predictor."),
    ] = 0.0,
    reward: Annotated[
        str | None,
        typer.Option(help="Weigh particles by qed, logp, sa=min, TPSA=60 ...: no training."),
    ] = None,
    particles: Annotated[int, typer.Option(min=1, help="Of each sample, for a reward.")] = 8,
    scale: Annotated[
        float, typer.Option(help="Of a reward, nats per standard deviation of the property.")
    ] = 3.0,
    n: Annotated[int, typer.Option("--n", min=2, help="Graphs with guidance, and as many without.")] = 100,
    solver: Solver = None,
    steps: Steps = None,
    prior: Prior = None,
    snr: Snr = None,
    scale_eps: ScaleEps = None,
    chunk: Chunk = None,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Sample with wished-for properties; means with and without guidance, with standard errors."""
    from apps.claim import claimed
    from apps.show import show
    from domains.graphs.workflows import guide_file

    where = folder or out.with_name(f"{out.name}.run")
    settings = sampling(solver, steps, prior, snr, scale_eps, chunk)
    own = {
        "properties": properties or (),
        "weight": weight,
        "predictor": predictor,
        "reward": reward,
        "particles": particles,
        "scale": scale,
    }
    config = {"model": run, "n": n, **own, "lambda": ood, **settings}
    with claimed(where, command="graphs guide", config=config, seed=seed, force=force, quiet=quiet) as claim:
        report = guide_file(
            run,
            out,
            properties=properties or (),
            predictor=predictor,
            reward=reward,
            weight=weight,
            ood=ood,
            particles=particles,
            scale=scale,
            count=n,
            settings=settings,
            seed=seed,
            device=device,
            overwrite=force,
            folder=where,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else _brief(report), as_json=as_json, folder=where)


def _brief(report: dict[str, Any]) -> dict[str, Any]:
    """The report as people read it: each mean with its standard error in one cell."""
    rows = [
        {"wish": row["wish"]}
        | {
            key: f"{row[key]:.3g} ± {row[f'{key}_standard_error']:.2g}"
            for key in ("without", "guided", "change")
        }
        for row in report["properties"]
    ]
    hidden = ("sampling", "warnings", "lambda", "particles")
    return {key: rows if key == "properties" else value for key, value in report.items() if key not in hidden}


@app.command()
def scaffold(
    run: Run,
    smiles: Annotated[
        str,
        typer.Option("--scaffold", help="SMILES; '*' marks where it may grow.", show_default=False),
    ],
    out: Out,
    attach: Annotated[
        str | None,
        typer.Option(help="Atoms that may bond to new ones, from 0: 3,5.", show_default="all that can"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="explicit or replacement.", show_default="explicit, or replacement with jumps"),
    ] = None,
    jumps: Annotated[int, typer.Option(min=1, help="Walks of each step, for replacement.")] = 1,
    n: Annotated[int, typer.Option("--n", min=1, help="Molecules.")] = 100,
    solver: Solver = None,
    steps: Steps = None,
    prior: Prior = None,
    snr: Snr = None,
    scale_eps: ScaleEps = None,
    chunk: Chunk = None,
    sizes: Sizes = None,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw molecules around a scaffold; the rate that keeps it stands beside the rate without."""
    from apps.claim import claimed
    from apps.show import show
    from core.errors import ConfigError
    from domains.graphs.workflows import scaffold_file

    words = words_of(attach)
    if wrong := next((word for word in words if not word.isdecimal()), None):
        raise ConfigError(f"'{wrong}' is no atom number.", hint="Write --attach 3,5; atoms count from 0.")
    where = folder or out.with_name(f"{out.name}.run")
    settings = sampling(solver, steps, prior, snr, scale_eps, chunk)
    own = {"scaffold": smiles, "attach": attach, "method": method, "jumps": jumps, "sizes": sizes}
    config = {"model": run, "n": n, **own, **settings}
    with claimed(
        where, command="graphs scaffold", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = scaffold_file(
            run,
            smiles,
            out,
            attach=None if attach is None else [int(word) for word in words],
            method=method,
            jumps=jumps,
            count=n,
            settings=settings,
            sizes=sizes,
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
