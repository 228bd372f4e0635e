"""The suite's main jobs on one page, beside their yardsticks: ultrasound dehazed, series forecast, molecules
drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.demo_forecasts import forecast_section
from apps.demo_molecules import molecule_section
from apps.report import Column, Number, Page, Picture, Row, Section, Table, render, run_footer
from apps.runfolder import RunFolder
from core.errors import DataError, MissingExtra
from core.progress import Progress, silent
from data.store import path as dataset_path
from domains.ultrasound.workflows.benchmark import HELD_OUT
from domains.ultrasound.workflows.dehazing import Priors, load_priors
from domains.ultrasound.workflows.showcase import Case, phantom_case, reverberation_case, simulated_case

__all__ = ["run_demo"]

COLUMNS = (
    Column("PSNR", "dB", "higher", 2),
    Column("gain", "dB", "higher", 2),
    Column("gCNR", "", "higher", 3),
    Column("KS, myocardium", "", "lower", 3),
    Column("ventricle", "dB", "lower", 1),
    Column("myocardium", "dB", None, 1),
)
NAMES = {"hazy": "hazy input", "threshold": "soft threshold", "joint": "joint diffusion"}


def run_demo(
    run: RunFolder,
    *,
    priors: Priors | None = None,
    levels: Sequence[float] = (0.1, 0.3),
    seeds: Sequence[int] = HELD_OUT,
    windows: int = 16,
    molecules: int = 200,
    data_dir: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run every case that the data at hand allow and write `index.html` and `report.json`.

    Args:
        run: the open run folder; pictures and page go there.
        priors: what to dehaze with; the shipped ones when None.
        levels: of the simulated haze.
        seeds: of the simulated hearts.
        windows: of the series, forecast.
        molecules: drawn; a fifth as many are drawn with a property raised.
        data_dir: folder of datasets, searched first.

    Returns:
        The report: rows per haze level and method, and what was measured on each real recording; a recording
        that is not on this machine is listed under "skipped" with the command that fetches it.
    """
    priors = priors or load_priors(None, None)
    cases: dict[str, Case] = {
        "simulated": simulated_case(
            priors, run.path, levels=levels, seeds=seeds, seed=seed, progress=progress
        )
    }
    skipped: dict[str, str] = {}
    for name, dataset, make in (
        ("phantom", "plus_bk", phantom_case),
        ("reverberation", "plus_ultrasonix", reverberation_case),
    ):
        try:
            folder = dataset_path(dataset, data_dir=data_dir)
        except DataError:
            skipped[name] = f"suffuse data fetch {dataset}"
            continue
        cases[name] = make(priors, folder, run.path, seed=seed, progress=_named(progress, name))
    forecasts: dict[str, Any] | None = None
    try:
        from domains.timeseries.workflows.showcase import simulated_forecasts

        forecasts = simulated_forecasts(
            run.path, windows=windows, seed=seed, progress=_named(progress, "forecast")
        )
        for name in (forecasts["picture"], "forecasts.csv"):
            run.add(run.path / name)
    except MissingExtra as err:
        skipped["forecasts"] = str(err.hint or err)
    drawn: dict[str, Any] | None = None
    try:
        from domains.graphs.workflows.showcase import generated_molecules

        drawn = generated_molecules(
            run.path,
            count=molecules,
            guided=molecules // 5,
            seed=seed,
            progress=_named(progress, "molecules"),
        )
        run.add(run.path / drawn["picture"])
    except MissingExtra as err:
        skipped["molecules"] = str(err.hint or err)
    for case in cases.values():
        for picture in case.pictures:
            run.add(run.path / picture)
            run.add((run.path / picture).with_suffix(".csv"))
    report: dict[str, Any] = {
        "simulated": list(cases["simulated"].rows),
        **{name: case.facts for name, case in cases.items() if name != "simulated"},
        **({} if forecasts is None else {"forecasts": forecasts}),
        **({} if drawn is None else {"molecules": drawn}),
        "skipped": skipped,
        "checkpoints_sha256": priors.hashes,
        "page": str(run.path / "index.html"),
        "notice": "Research use only; not for diagnosis.",
    }
    run.report(report)
    run.write("index.html", render(_page(run, cases, forecasts, drawn, skipped, priors)))
    return report


def _page(
    run: RunFolder,
    cases: dict[str, Case],
    forecasts: dict[str, Any] | None,
    molecules: dict[str, Any] | None,
    skipped: dict[str, str],
    priors: Priors,
) -> Page:
    sections = [_simulated(run, cases["simulated"])]
    if "phantom" in cases:
        sections.append(_phantom(run, cases["phantom"]))
    if "reverberation" in cases:
        sections.append(_reverberation(run, cases["reverberation"]))
    if forecasts is not None:
        sections.append(forecast_section(run, forecasts))
    if molecules is not None:
        sections.append(molecule_section(run, molecules))
    if skipped:
        sections.append(
            Section(
                "Not shown",
                f"{len(skipped)} parts of this page need what is not on this machine. Fetch it, then run the "
                "demo again.",
                command="\n".join([*skipped.values(), "suffuse demo --force"]),
            )
        )
    size = sum(p.numel() for p in priors.tissue.denoiser.parameters())
    lede = (
        "Haze is multipath clutter that covers the heart in ultrasound. Two diffusion priors, one of tissue "
        "and one of haze, trained apart and never on pairs, are sampled jointly until together they explain "
        f"the recorded lines. Each prior has {size:,} parameters and runs on a laptop. Below them: series, "
        "forecast, and molecules, drawn, by models of the same core."
    )
    return Page(
        "Ultrasound, dehazed; series, forecast; molecules, drawn",
        lede,
        tuple(sections),
        run_footer(run.record),
    )


def _simulated(run: RunFolder, case: Case) -> Section:
    tables = []
    for level in dict.fromkeys(row["level"] for row in case.rows):
        rows = [_row(row) for row in case.rows if row["level"] == level]
        truth = next(row["myocardium_truth_db"] for row in case.rows if row["level"] == level)
        tables.append(
            Table(
                COLUMNS,
                tuple(rows),
                first=f"haze level {level}",
                note=f"Means over {case.facts['frames']} held-out frames, gain with standard error. "
                f"In the truth the myocardium is at {truth:.1f} dB. Levels are dB below the peak of the "
                "truth, clipped at -60 dB.",
            )
        )
    return Section(
        "Simulated hearts, where the truth is known",
        "Four hearts that neither prior has seen, behind haze at two levels. A threshold darkens the "
        "ventricle too, but the "
        "picture moves away from the truth (PSNR) and contrast (gCNR) stays where it was: no pointwise curve "
        "can change it. "
        "KS says how far the grey levels of the heart wall are from the truth's; 0 is best.",
        tuple(
            Picture(
                run.path / name,
                f"Haze level {name.removeprefix('simulated-').removesuffix('.png')}: input, dehazed, haze "
                "found, residual. "
                "Outlined: ventricle and heart wall.",
                "B-mode pictures of a simulated heart before and after dehazing, side by side.",
            )
            for name in case.pictures
        ),
        tuple(tables),
        command="suffuse ultrasound simulate --frames 1 --haze 0.3 --seed 1000 -o heart.hdf5\n"
        "suffuse ultrasound dehaze heart.hdf5 -o clear.hdf5 --gamma 1",
    )


def _row(row: dict[str, Any]) -> Row:
    gain = None if row["method"] == "hazy" else Number(row["gain_db"], row["gain_error_db"])
    cells = (
        Number(row["psnr_db"]),
        gain,
        Number(row["gcnr"]),
        Number(row["ks_myocardium"]),
        Number(row["ventricle_db"]),
        Number(row["myocardium_db"]),
    )
    return Row(
        NAMES.get(row["method"], row["method"]), cells, "baseline" if row["method"] == "hazy" else "result"
    )


def _phantom(run: RunFolder, case: Case) -> Section:
    f = case.facts
    text = (
        "IQ lines of a BK convex probe on a tissue-mimicking phantom with a water chamber, as recorded. The "
        "priors were trained "
        "on simulated hearts and have never met such lines, so this shows what happens outside their domain: "
        "look at the "
        "tissue level and KS before trusting a darker chamber.\n\n"
        f"Verdict: {f['verdict']}."
        + (f" {' '.join(_sentence(r) for r in f['reasons'])}" if f["reasons"] else "")
    )
    table = Table(
        (
            Column("water chamber", "dB", "lower", 1),
            Column("near tissue", "dB", None, 1),
            Column("gCNR", "", "higher", 3),
        ),
        (
            Row(
                "as recorded",
                (f["cavity_level_input_db"], f["tissue_level_input_db"], f["gcnr_input"]),
                "baseline",
            ),
            Row(
                "joint diffusion",
                (f["cavity_level_output_db"], f["tissue_level_output_db"], f["gcnr_output"]),
            ),
        ),
        first="real phantom",
        note=f"KS of the near tissue, output against input: {f['tissue_ks']:.3f}. There is no truth here.",
    )
    picture = Picture(
        run.path / "phantom.png",
        "Real lines, dehazed lines and the haze found, scan-converted.",
        "Sector pictures of a phantom before and after dehazing.",
    )
    return Section(
        "A real phantom",
        text,
        (picture,),
        (table,),
        command='suffuse ultrasound dehaze "$(suffuse data path plus_bk)/BkCurvilinearRfData.igs.mhd" '
        "-o phantom.hdf5 --gamma 0.4",
    )


def _reverberation(run: RunFolder, case: Case) -> Section:
    f = case.facts
    table = Table(
        (Column("mean level", "dB", "lower", 1), Column("share of the energy", "", "lower", 3)),
        (
            Row("as recorded", (f["level_before_db"], 1.0), "baseline"),
            Row("taken for tissue", (f["level_after_db"], f["energy_tissue_share"])),
        ),
        first="real haze",
        note="A perfect separation would leave nothing as tissue; levels are clipped at -60 dB.",
    )
    picture = Picture(
        run.path / "reverberation.png",
        "The recording, what was taken for tissue, and what was taken for haze. Lines side by side, depth "
        "down.",
        "Horizontal reverberation bands before and after dehazing.",
    )
    return Section(
        "Real reverberation",
        "This recording of a linear probe shows no anatomy, only horizontal bands: a sample of real haze "
        "without tissue. What "
        "the tissue prior still claims is a false positive.",
        (picture,),
        (table,),
        command="suffuse data path plus_ultrasonix",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _named(progress: Progress, name: str) -> Progress:
    def tell(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        progress(name, done, total, None)

    return tell
