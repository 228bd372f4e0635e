"""suffuse ultrasound: simulate, read, convert, beamform, draw.

`ultrasound_train`, `ultrasound_dehaze` and `ultrasound_video` hold the rest of the group.
"""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands import ultrasound_dehaze, ultrasound_sample, ultrasound_train, ultrasound_video
from apps.commands.demo import ultrasound_demo
from apps.commands.ultrasound_options import (
    F0,
    R0,
    R1,
    Bandwidth,
    DynamicRange,
    Force,
    Fs,
    HalfAngle,
    Out,
    ProbeType,
    RunDir,
    SoundSpeed,
    Source,
    Width,
    geometry,
)
from apps.options import AsJson, Quiet, Seed

app = typer.Typer(no_args_is_help=True)


@app.command()
def simulate(
    out: Out,
    scene: Annotated[str, typer.Option(help="What is imaged: cardiac.")] = "cardiac",
    probe: Annotated[str, typer.Option(help="Probe: cardiac, P4-2v or L11-5v.")] = "cardiac",
    backend: Annotated[str, typer.Option(help="polar (lines), channel or pymust (echoes).")] = "polar",
    frames: Annotated[int, typer.Option(help="Frames, spread evenly over the cycles.")] = 60,
    cycles: Annotated[float, typer.Option(help="Heart beats of one second.")] = 1.0,
    haze: Annotated[
        str, typer.Option(help="Peak of the haze over that of tissue; 0.1,0.2 makes a file per level.")
    ] = "0.2",
    domain: Annotated[str, typer.Option(help="iq or rf lines.")] = "iq",
    run: RunDir = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Simulate a beating heart behind haze: lines, geometry and truth."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.ultrasound.workflows import simulate_file

    folder = run or default_folder(out)
    config = {
        "scene": scene,
        "probe": probe,
        "backend": backend,
        "frames": frames,
        "cycles": cycles,
        "haze": haze,
        "domain": domain,
    }
    with claimed(
        folder, command="ultrasound simulate", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = simulate_file(
            out,
            scene=scene,
            probe=probe,
            backend=backend,
            frames=frames,
            cycles=cycles,
            haze=_levels(haze),
            domain=domain,  # type: ignore[arg-type]  # checked there
            seed=seed,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command()
def info(source: Source, as_json: AsJson = False) -> None:
    """Show what a recording holds, and what its missing geometry rules out."""
    from apps.claim import warn
    from apps.show import show
    from domains.ultrasound.workflows import info_file

    report = info_file(source)
    warn(report["warnings"])
    if not as_json:
        report = {
            key: value for key, value in report.items() if key not in ("warnings", "truth", "missing")
        } | {
            "truth": sorted(report["truth"]),
            **{f"missing to {use}": names for use, names in report["missing"].items()},
        }
    show(report, as_json=as_json)


@app.command()
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(help="File to write; a name without extension is a folder of PNGs.")],
    to: Annotated[
        str | None, typer.Option(help="iq, rf, envelope or image.", show_default="as it is")
    ] = None,
    dynamic_range_db: DynamicRange = 60.0,
    probe: ProbeType = None,
    r0: R0 = None,
    r1: R1 = None,
    half_angle: HalfAngle = None,
    width: Width = None,
    fs: Fs = None,
    f0: F0 = None,
    bandwidth: Bandwidth = None,
    keep_phi: Annotated[
        bool, typer.Option("--keep-phi", help="Copying patient identity to a DICOM output is intended.")
    ] = False,
    strip_phi: Annotated[
        bool, typer.Option("--strip-phi", help="Leave patient identity out of a DICOM output.")
    ] = False,
    run: RunDir = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Read any known file and write any writable one, perhaps further down the signal chain."""
    from apps.claim import claimed, default_folder
    from domains.ultrasound.workflows import convert_file

    folder = run or default_folder(out)
    given = geometry(probe, r0, r1, half_angle, width, fs, f0, bandwidth)
    config = {"to": to, "dynamic_range_db": dynamic_range_db, **_given(given)}
    with claimed(folder, command="ultrasound convert", config=config, force=force, quiet=quiet) as claim:
        report = convert_file(
            source,
            out,
            to=to,  # type: ignore[arg-type]  # checked there
            geometry=given,
            dynamic_range_db=dynamic_range_db,
            keep_phi=keep_phi,
            strip_phi=strip_phi,
            overwrite=force,
            ready=claim.ready,
        )
        claim.report(report)
    _show_record(report, as_json=as_json, folder=folder)


@app.command()
def beamform(
    source: Source,
    out: Out,
    f_number: Annotated[
        float, typer.Option("--f-number", "--fnumber", help="Depth over the width of the aperture.")
    ] = 1.5,
    samples: Annotated[int, typer.Option(help="Samples per line.")] = 512,
    lines: Annotated[int, typer.Option(help="Lines.")] = 128,
    r0: Annotated[float, typer.Option("--r0", help="Depth of the first sample, metres.")] = 0.005,
    r1: Annotated[float, typer.Option("--r1", help="Depth of the last sample, metres.")] = 0.06,
    half_angle: Annotated[
        float | None,
        typer.Option(help="Fan of plus and minus this, degrees.", show_default="parallel lines"),
    ] = None,
    fs: Fs = None,
    f0: F0 = None,
    bandwidth: Bandwidth = None,
    sound_speed: SoundSpeed = None,
    run: RunDir = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Beamform echoes per element into lines by delay-and-sum."""
    from apps.claim import claimed, default_folder
    from domains.ultrasound.workflows import beamform_file

    folder = run or default_folder(out)
    config = {"f_number": f_number, "samples": samples, "lines": lines, "r0_m": r0, "r1_m": r1}
    given = geometry(fs=fs, f0=f0, bandwidth=bandwidth, sound_speed=sound_speed)
    with claimed(
        folder,
        command="ultrasound beamform",
        config={**config, "half_angle_deg": half_angle, **_given(given)},
        force=force,
        quiet=quiet,
    ) as claim:
        report = beamform_file(
            source,
            out,
            f_number=f_number,
            samples=samples,
            lines=lines,
            r0_m=r0,
            r1_m=r1,
            half_angle_deg=half_angle,
            geometry=given,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    _show_record(report, as_json=as_json, folder=folder)


@app.command()
def bmode(
    source: Source,
    out: Out,
    dynamic_range_db: DynamicRange = 60.0,
    scan_convert: Annotated[
        bool, typer.Option("--scan-convert", help="Show space in mm instead of samples and lines.")
    ] = False,
    frame: Annotated[int, typer.Option(help="Frame to draw, counted from 0.")] = 0,
    probe: ProbeType = None,
    r0: R0 = None,
    r1: R1 = None,
    half_angle: HalfAngle = None,
    width: Width = None,
    fs: Fs = None,
    f0: F0 = None,
    bandwidth: Bandwidth = None,
    run: RunDir = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw one frame as a log-compressed B-mode picture (PNG); its numbers go to the run folder (CSV)."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.ultrasound.workflows import bmode_file

    folder = run or default_folder(out)
    given = geometry(probe, r0, r1, half_angle, width, fs, f0, bandwidth)
    config = {"dynamic_range_db": dynamic_range_db, "scan_convert": scan_convert, "frame": frame}
    with claimed(
        folder, command="ultrasound bmode", config={**config, **_given(given)}, force=force, quiet=quiet
    ) as claim:
        report = bmode_file(
            source,
            out,
            dynamic_range_db=dynamic_range_db,
            scan_converted=scan_convert,
            frame=frame,
            geometry=given,
            overwrite=force,
            folder=folder,
            ready=claim.ready,
        )
        claim.report(report)
    shown = report if as_json else {key: value for key, value in report.items() if key != "warnings"}
    show(shown, as_json=as_json, folder=folder)


app.add_typer(ultrasound_train.app)
app.add_typer(ultrasound_dehaze.app)
app.add_typer(ultrasound_sample.app)
app.add_typer(ultrasound_video.app)
app.command("demo")(ultrasound_demo)


def _given(options: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in options.items() if value is not None}


def _levels(text: str) -> list[float]:
    """Haze levels from "0.1,0.2,0.3"."""
    from core.errors import ConfigError

    try:
        return [float(word) for word in text.split(",")]
    except ValueError as err:
        raise ConfigError(f"haze must be a number or several with commas between, got '{text}'.") from err


def _show_record(report: dict[str, object], *, as_json: bool, folder: Path) -> None:
    """A converted recording: everything for programs, the main facts for people."""
    from apps.show import show

    if not as_json:
        keys = ("input", "output", "kind", "domain", "shape", "axes", "dtype", "unit", "range")
        report = {key: report[key] for key in keys if report.get(key) is not None}
    show(report, as_json=as_json, folder=folder)
