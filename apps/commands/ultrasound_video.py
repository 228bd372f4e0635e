"""suffuse ultrasound dehaze-video, anomaly, solve and tasks: what works on films and pictures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.ultrasound_options import DynamicRange, Force, RunDir, Settings, Source
from apps.options import AsJson, Device, Quiet, Seed

app = typer.Typer()

PictureOut = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Pictures to write: .npz, .hdf5, .mp4, .dcm, .nii.gz, .png (one frame); a name without "
        "extension is a folder of PNGs.",
        show_default=False,
    ),
]
PicturePrior = Annotated[
    Path | None,
    typer.Option("--prior", help="Prior of B-mode pictures, from train bmode.", show_default=False),
]


@app.command("dehaze-video")
def dehaze_video(
    source: Source,
    out: PictureOut,
    method: Annotated[
        str, typer.Option(help="nuclear, semantic, or a baseline: none, threshold, svd, rpca.")
    ] = "nuclear",
    prior: PicturePrior = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            help="Regions: JSON, PNG or NIfTI; semantic is guided by them.",
            show_default="a simulated truth",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Calls of the prior per frame.", show_default="50")
    ] = None,
    start_sigma: Annotated[
        float | None,
        typer.Option(
            help="Noise level that sampling starts from.", show_default="nuclear 0.472, semantic the prior's"
        ),
    ] = None,
    mu: Annotated[
        float | None, typer.Option(help="nuclear: weight of the residual.", show_default="0.2")
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="nuclear: level below which still is no haze.", show_default="0.1")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="nuclear: frames that share a haze.", show_default="7")
    ] = None,
    shrink: Annotated[
        str | None, typer.Option(help="nuclear: subgradient or prox.", show_default="subgradient")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="semantic: step of the guidance.", show_default="1.0")
    ] = None,
    independent_noise: Annotated[
        bool | None,
        typer.Option(
            "--independent-noise/--shared-noise",
            help="Other noise for every frame.",
            show_default="shared",
        ),
    ] = None,
    config: Settings = None,
    dynamic_range_db: DynamicRange = 60.0,
    save_haze: Annotated[bool, typer.Option("--save-haze", help="Write the haze too, as OUT-haze.")] = False,
    run: RunDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Remove haze from films and pictures, which have no phase."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from apps.ultrasound_report import summary
    from domains.ultrasound.workflows.video import dehaze_video_file

    folder = run or default_folder(out)
    given = {
        "steps": steps,
        "start_sigma": start_sigma,
        "mu": mu,
        "gamma": gamma,
        "window": window,
        "shrink": shrink,
        "guidance": guidance,
        "independent_noise": independent_noise,
    }
    settings = _video_settings(config, given)
    recorded = {"method": method, "dynamic_range_db": dynamic_range_db, **settings.model_dump(mode="json")}
    with claimed(
        folder, command="ultrasound dehaze-video", config=recorded, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = dehaze_video_file(
            source,
            out,
            settings,
            method=method,
            prior=prior,
            roi=roi,
            dynamic_range_db=dynamic_range_db,
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
def anomaly(
    source: Source,
    out: PictureOut,
    prior: PicturePrior = None,
    sigma: Annotated[float, typer.Option(help="Noise level that pictures are taken to.")] = 0.5,
    steps: Annotated[int, typer.Option(help="Calls of the prior per picture and noise.")] = 20,
    samples: Annotated[int, typer.Option(help="Noises averaged.")] = 4,
    dynamic_range_db: DynamicRange = 60.0,
    run: RunDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Map what a prior of healthy pictures would not have drawn: noise, denoise, compare."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.ultrasound.workflows.anomalies import anomaly_file

    folder = run or default_folder(out)
    recorded = {"sigma": sigma, "steps": steps, "samples": samples, "dynamic_range_db": dynamic_range_db}
    with claimed(
        folder, command="ultrasound anomaly", config=recorded, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = anomaly_file(
            source,
            out,
            prior=prior,
            sigma=sigma,
            steps=steps,
            samples=samples,
            dynamic_range_db=dynamic_range_db,
            seed=seed,
            device=device,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    shown = {key: report[key] for key in ("output", "sigma", "frames", "notice")}
    show(report if as_json else shown, as_json=as_json, folder=folder)


@app.command("solve")
def solve_inverse(
    source: Source,
    out: PictureOut,
    operator: Annotated[
        str, typer.Option(help="What was measured: inpaint, sr4, blur or mri.", show_default=False)
    ],
    prior: PicturePrior = None,
    method: Annotated[
        str, typer.Option(help="reddiff, dps, pigdm, ddrm, diffpir, daps, mcg, red or ilvr.")
    ] = "reddiff",
    nfe: Annotated[int, typer.Option(help="Calls of the network per picture and sample.")] = 100,
    samples: Annotated[int, typer.Option(help="Posterior samples averaged.")] = 1,
    noise: Annotated[
        float, typer.Option(help="Noise of the measurement, steps of 255 for 8-bit pictures, else dB.")
    ] = 2.0,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="The input is clean: measure it first, and report PSNR.")
    ] = False,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="inpaint: PNG, 0 where a pixel does not count.", show_default="with --simulate, random"
        ),
    ] = None,
    keep: Annotated[float, typer.Option(help="Share of pixels or k-space rows, with --simulate.")] = 0.5,
    blur_px: Annotated[float, typer.Option(help="blur: standard deviation, pixels.")] = 2.0,
    dynamic_range_db: DynamicRange = 60.0,
    run: RunDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Restore pictures that were masked, reduced, blurred or sampled in k-space."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.ultrasound.workflows.solving import solve_file

    folder = run or default_folder(out)
    settings: dict[str, Any] = {
        "operator": operator,
        "method": method,
        "nfe": nfe,
        "samples": samples,
        "noise": noise,
        "simulate": simulate,
        "keep": keep,
        "blur_px": blur_px,
        "dynamic_range_db": dynamic_range_db,
    }
    with claimed(
        folder, command="ultrasound solve", config=settings, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = solve_file(
            source,
            out,
            prior=prior,
            mask=mask,
            seed=seed,
            device=device,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
            **settings,
        )
        claim.report(report)
    keys = (
        "output",
        "operator",
        "method",
        "kind",
        "nfe",
        "residual",
        "psnr_db",
        "psnr_first_guess_db",
        "notice",
    )
    shown = {key: report[key] for key in keys if key in report}
    show(report if as_json else shown, as_json=as_json, folder=folder)


@app.command()
def tasks(as_json: AsJson = False) -> None:
    """List the tasks of medical diffusion models, and what is implemented of each."""
    from apps.show import show
    from domains.ultrasound.tasks import TASKS

    rows = [task.to_dict() for task in TASKS]
    if not as_json:
        rows = [
            {"task": row["family"], "status": row["status"], "with": row["entry"] or "-", "what": row["what"]}
            for row in rows
        ]
    show({"tasks": rows}, as_json=as_json)


def _video_settings(file: Path | None, given: dict[str, Any]) -> Any:
    """Settings of a video dehazing: the command line over a file over the defaults."""
    from apps.settings import merge
    from domains.ultrasound.config import VideoConfig, checked

    return checked(VideoConfig, merge(VideoConfig.model_fields, given=given, file=file))
