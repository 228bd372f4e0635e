"""suffuse demo: the suite's main job, in a few minutes, on one page."""

from pathlib import Path
from typing import Annotated

import typer

from apps.options import AsJson, DataDir, Force, Quiet, Seed

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the page, pictures and numbers.")]

app = typer.Typer()


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    data_dir: DataDir = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    core: Annotated[
        bool, typer.Option("--core", help="Samplers and steering against exact answers, in seconds.")
    ] = False,
) -> None:
    """Dehaze simulated hearts and real recordings, forecast series, draw molecules; write an offline page."""
    if core:
        _show_core(out, seed, force, quiet, as_json)
    else:
        _show("demo", out, data_dir, seed, force, quiet, as_json, trained=False)


def ultrasound_demo(
    out: Out = Path("runs/ultrasound-demo"),
    data_dir: DataDir = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """As `suffuse demo`, with priors that are trained first: about 5 minutes on two idle cores."""
    _show("ultrasound demo", out, data_dir, seed, force, quiet, as_json, trained=True)


def _show_core(out: Path, seed: int, force: bool, quiet: bool, as_json: bool) -> None:
    from apps.core_demo import run_core_demo
    from apps.core_demo.samplers import BUDGETS
    from apps.progress import show_progress
    from apps.runfolder import RunFolder
    from apps.show import say, show

    with RunFolder.open(out, command="demo --core", config={}, seed=seed, device="cpu", force=force) as run:
        say(f"Running samplers and steering on exact densities; results in {out}.", quiet=quiet)
        with show_progress(quiet=quiet) as progress:
            report = run_core_demo(run, seed=seed, progress=progress)
    if as_json:
        show(report, as_json=True, folder=out)
        return
    names = dict.fromkeys(row["sampler"] for row in report["samplers"])
    reached = {name: [row["sw2"] for row in report["samplers"] if row["sampler"] == name] for name in names}
    heads = [f"{budget} calls" for budget in BUDGETS]
    table = [{"sampler": name, **dict(zip(heads, row, strict=True))} for name, row in reached.items()]
    show({"samplers": table}, title=f"distance to exact samples (floor {report['floor']:.3f})")
    show({"steering": report["steering"]}, title="steering")
    print(f"page: {out / 'index.html'}")
    print(f"run folder: {out}")


def _show(
    command: str,
    out: Path,
    data_dir: Path | None,
    seed: int,
    force: bool,
    quiet: bool,
    as_json: bool,
    *,
    trained: bool,
) -> None:
    from apps.demo import run_demo
    from apps.progress import show_progress
    from apps.runfolder import RunFolder
    from apps.show import say, show
    from domains.ultrasound.config import recipe
    from domains.ultrasound.workflows.studies import trained_priors

    config = {"data_dir": data_dir, "recipe": "demo" if trained else None}
    with RunFolder.open(out, command=command, config=config, seed=seed, device="cpu", force=force) as run:
        first = "Training two priors, then d" if trained else "D"
        say(f"{first}ehazing held-out hearts and real lines on the CPU; results in {out}.", quiet=quiet)
        with show_progress(quiet=quiet) as progress:
            priors = trained_priors(recipe("demo"), seed=seed, progress=progress) if trained else None
            report = run_demo(run, priors=priors, data_dir=data_dir, seed=seed, progress=progress)
    if as_json:
        show(report, as_json=True, folder=out)
        return
    keys = ("level", "method", "psnr_db", "gain_db", "gcnr", "ks_myocardium", "ventricle_db", "myocardium_db")
    show(
        {"simulated": [{key: row[key] for key in keys} for row in report["simulated"]]},
        title="simulated hearts",
    )
    for name in ("phantom", "reverberation"):
        if name in report:
            show(
                {key: value for key, value in report[name].items() if isinstance(value, float | str)},
                title=name,
            )
    if "forecasts" in report:
        columns = ("model", "mean_wql", "mean_wql_standard_error", "mase", "coverage_90")
        rows = [{key: row[key] for key in columns} for row in report["forecasts"]["scores"]]
        show({"forecasts": rows}, title="series, a day ahead")
    if "molecules" in report:
        show({"molecules": report["molecules"]["rows"]}, title="molecules")
    for name, command in report["skipped"].items():
        print(f"{name}: not on this machine. Fetch it with: {command}")
    print(f"page: {out / 'index.html'}")
    print(f"run folder: {out}")
