"""suffuse demo: the suite's main job, in a few minutes, on one page."""

from pathlib import Path
from typing import Annotated

import typer

from apps.options import AsJson, DataDir, Force, Quiet, Seed

app = typer.Typer()


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the page, pictures and numbers.")
    ] = Path("runs/demo"),
    data_dir: DataDir = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Dehaze simulated hearts and, where the data are at hand, real recordings; write a page that opens
    offline.
    """
    from apps.demo import run_demo
    from apps.progress import show_progress
    from apps.runfolder import RunFolder
    from apps.show import say, show

    with RunFolder.open(
        out, command="demo", config={"data_dir": data_dir}, seed=seed, device="cpu", force=force
    ) as run:
        say(
            f"Dehazing held-out hearts and real lines on the CPU, about two minutes; results in {out}.",
            quiet=quiet,
        )
        with show_progress(quiet=quiet) as progress:
            report = run_demo(run, data_dir=data_dir, seed=seed, progress=progress)
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
    for name, command in report["skipped"].items():
        print(f"{name}: not on this machine. Fetch it with: {command}")
    print(f"page: {out / 'index.html'}")
    print(f"run folder: {out}")
