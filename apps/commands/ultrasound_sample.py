"""suffuse ultrasound sample: frames from a prior, chosen by a search if one is asked for."""

from typing import Annotated

import typer

from apps.commands.ultrasound_options import Force, Out, RunDir
from apps.options import AsJson, Device, Quiet, Seed
from apps.search_options import Budget, SearchMethod, Second, VerifierNames, chosen

app = typer.Typer()


@app.command()
def sample(
    out: Out,
    prior: Annotated[str, typer.Option(help="tissue or haze, or a checkpoint.")] = "tissue",
    n: Annotated[int, typer.Option("--n", min=1, help="Frames.")] = 4,
    size: Annotated[str, typer.Option(help="Samples x lines, such as 96x64.")] = "96x64",
    steps: Annotated[int, typer.Option(min=1, help="Evaluations of one run.")] = 20,
    search: SearchMethod = None,
    verifier: VerifierNames = None,
    second: Second = None,
    budget: Budget = None,
    run: RunDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw frames from a prior; verifiers to search for: speckle, cavity, bright."""
    from apps.claim import claimed, default_folder
    from apps.commands.ultrasound_train import patch_of
    from apps.search_plot import plot_search
    from apps.show import show
    from domains.ultrasound.workflows.drawing import sample_file

    folder = run or default_folder(out)
    settings = chosen(search, verifier, budget, steps=steps)
    shape = patch_of(size) or (96, 64)
    config = {
        "prior": prior,
        "n": n,
        "size": size,
        "steps": steps,
        "search": search,
        "verifier": verifier,
        "second": second,
        "budget": None if settings is None else settings.budget,
    }
    with claimed(
        folder, command="ultrasound sample", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = sample_file(
            out,
            prior=prior,
            n=n,
            shape=shape,
            steps=steps,
            search=settings,
            verifier=verifier,
            second=second,
            seed=seed,
            device=device,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        if "tried" in report:
            plot_search(
                report["tried"], folder / "search.png", searched=str(verifier), second=report["second"]
            )
        claim.report(report)
    brief = {key: value for key, value in report.items() if key != "tried"}
    show(report if as_json else brief, as_json=as_json, folder=folder)
