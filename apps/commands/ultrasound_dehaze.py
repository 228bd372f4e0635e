"""suffuse ultrasound dehaze, and evaluate: what a dehazing did."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.ultrasound_options import DynamicRange, Force, Out, RunDir, Settings, Source
from apps.options import AsJson, Device, Quiet, Seed

app = typer.Typer()


@app.command()
def dehaze(
    source: Source,
    out: Out,
    tissue: Annotated[
        Path | None, typer.Option(help="Prior of tissue.", show_default="the shipped one")
    ] = None,
    haze: Annotated[Path | None, typer.Option(help="Prior of haze.", show_default="the shipped one")] = None,
    method: Annotated[str, typer.Option(help="joint, or a baseline: none, threshold, svd, bm3d.")] = "joint",
    gamma: Annotated[
        float | None,
        typer.Option(help="Strength of the haze that is looked for.", show_default="0.4"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Calls of each prior.", show_default="30")] = None,
    start_sigma: Annotated[
        float | None,
        typer.Option(help="Noise level that sampling starts from.", show_default="0.6"),
    ] = None,
    consistency: Annotated[
        str | None,
        typer.Option(help="projection, x0, dps or pigdm.", show_default="projection"),
    ] = None,
    weight_tissue: Annotated[
        float | None,
        typer.Option(help="Pull of the measurement on tissue.", show_default="the rule's"),
    ] = None,
    weight_haze: Annotated[
        float | None,
        typer.Option(help="Pull of the measurement on haze.", show_default="the rule's"),
    ] = None,
    eta: Annotated[
        float | None,
        typer.Option(help="Fresh noise per step: 0 none, 1 ancestral.", show_default="0.0"),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Posterior samples; several give mean and deviation.", show_default="1"),
    ] = None,
    interleave: Annotated[
        str | None, typer.Option(help="whole, hann or overwrite.", show_default="whole")
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(help="Share that neighbouring patches share.", show_default="0.5"),
    ] = None,
    independent_noise: Annotated[
        bool | None,
        typer.Option(
            "--independent-noise/--shared-noise",
            help="Other noise for every frame.",
            show_default="shared",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Frames sampled together on a GPU.", show_default="4")
    ] = None,
    config: Settings = None,
    roi: Annotated[
        Path | None,
        typer.Option(help="Regions: JSON, PNG or NIfTI.", show_default="a simulated truth"),
    ] = None,
    save_haze: Annotated[bool, typer.Option("--save-haze", help="Write the haze too, as OUT-haze.")] = False,
    run: RunDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Remove haze from RF or IQ lines by joint posterior sampling."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from apps.ultrasound_report import summary
    from domains.ultrasound.workflows import dehaze_file

    folder = run or default_folder(out)
    given = {
        "gamma": gamma,
        "steps": steps,
        "start_sigma": start_sigma,
        "consistency": consistency,
        "weight_tissue": weight_tissue,
        "weight_haze": weight_haze,
        "eta": eta,
        "samples": samples,
        "interleave": interleave,
        "overlap": overlap,
        "independent_noise": independent_noise,
        "batch": batch,
    }
    settings = dehaze_settings(config, given)
    recorded = {"method": method, **settings.model_dump(mode="json")}
    with claimed(
        folder, command="ultrasound dehaze", config=recorded, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = dehaze_file(
            source,
            out,
            settings,
            tissue=tissue,
            haze=haze,
            method=method,
            roi=roi,
            save_haze=save_haze,
            seed=seed,
            device=device,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else summary(report), as_json=as_json, folder=folder)


@app.command()
def evaluate(
    source: Annotated[Path, typer.Option("--input", help="The hazy recording.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", help="The dehazed recording.", show_default=False)],
    reference: Annotated[
        Path | None,
        typer.Option(help="A haze-free recording.", show_default="a simulated truth"),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(help="Regions: JSON, PNG or NIfTI.", show_default="a simulated truth"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Report to write: .json, .csv or .html.", show_default=False),
    ] = None,
    bins: Annotated[int, typer.Option(help="Bins of gCNR; 256 reproduces the papers.")] = 64,
    dynamic_range_db: DynamicRange = 60.0,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="Run folder.",
            show_default="the report's name with .run, else runs/evaluate",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure a dehazing: contrast, levels, speckle, and whether it deserves the word."""
    from apps.claim import claimed, default_folder
    from apps.runfolder import write_atomic
    from apps.show import show
    from apps.ultrasound_report import FORMATS, summary, text_of
    from domains.ultrasound.workflows import evaluate_files
    from domains.ultrasound.workflows.outlook import check_output

    if out is not None:
        check_output(out, FORMATS, overwrite=force)
    folder = run or (default_folder(out) if out else Path("runs/evaluate"))
    config = {"bins": bins, "dynamic_range_db": dynamic_range_db}
    with claimed(folder, command="ultrasound evaluate", config=config, force=force, quiet=quiet) as claim:
        report = evaluate_files(
            source,
            output,
            reference=reference,
            roi=roi,
            bins=bins,
            dynamic_range_db=dynamic_range_db,
            folder=folder,
            ready=claim.ready,
        )
        claim.report(report)
        if out is not None:
            assert claim.run is not None
            text = text_of(report, out, folder=folder, record=claim.run.record)
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(out, text)
    show(report if as_json else summary(report), as_json=as_json, folder=folder)


def dehaze_settings(file: Path | None, given: dict[str, Any]) -> Any:
    """Settings of a dehazing: the command line over a file over the defaults."""
    from apps.settings import merge
    from domains.ultrasound.config import DehazeConfig, checked

    return checked(DehazeConfig, merge(DehazeConfig.model_fields, given=given, file=file))
