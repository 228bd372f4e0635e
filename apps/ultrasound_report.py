"""The report of a dehazing for people: a table on the terminal, CSV, and a page."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apps.plain import to_json
from apps.report import Column, Number, Page, Picture, Row, Section, Table, render, run_footer

__all__ = ["FORMATS", "page", "summary", "text_of"]

FORMATS = (".json", ".csv", ".html")

# What is compared, and the keys of input, output and reference among the mean measures.
COMPARED = (
    ("gCNR, tissue against cavity", "gcnr_input", "gcnr_output", "gcnr_reference"),
    (
        "cavity level (dB)",
        "cavity_level_input_db",
        "cavity_level_output_db",
        "cavity_level_reference_db",
    ),
    ("tissue level (dB)", "tissue_level_input_db", "tissue_level_output_db", "tissue_level_reference_db"),
    ("PSNR to the reference (dB)", "psnr_input_db", "psnr_output_db", None),
    ("SSIM to the reference", "ssim_input", "ssim_output", None),
    ("KS of tissue to the reference", "tissue_ks_input_reference", "tissue_ks_output_reference", None),
    ("KS of cavity to the reference", "cavity_ks_input_reference", "cavity_ks_output_reference", None),
)
# What is measured of the output against the input, and the limit of the verdict.
CHANGES = (
    ("cavity level, output - input (dB)", "cavity_change_db", "<= -{cavity_drop_db:g}"),
    ("tissue level, output - input (dB)", "tissue_change_db", "> -{erased_db:g}"),
    ("KS of tissue, output to input", "tissue_ks", "<= {tissue_ks:g}"),
    ("KS of cavity, output to input", "cavity_ks", ""),
    (
        "lateral speckle width, output / input",
        "lateral_fwhm_ratio",
        "{lateral_fwhm_low:g} to {lateral_fwhm_high:g}",
    ),
    ("axial speckle width, output / input", "axial_fwhm_ratio", ""),
)


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict and its yardsticks, as `show` prints them; the plain facts where no region was measured."""
    if "mean" not in report:
        return {key: report[key] for key in ("output", "haze_output", "method") if key in report}
    mean, limits = report["mean"], report["limits"]
    compared = []
    for name, *keys in COMPARED:
        cells = [mean.get(key) if key else None for key in keys]
        if cells[0] is not None or cells[1] is not None:
            compared.append(
                {"measure": name, **dict(zip(("input", "output", "reference"), cells, strict=True))}
            )
    changes = [
        {"change": name, "found": mean.get(key), "needed": limit.format(**limits) or "-"}
        for name, key, limit in CHANGES
    ]
    facts = {key: report[key] for key in ("output", "haze_output", "method") if key in report}
    if report.get("flicker") is not None:
        facts["flicker"] = report["flicker"]
    return {
        **facts,
        "verdict": report["verdict"],
        **({"because": " ".join(report["reasons"])} if report["reasons"] else {}),
        "gcnr_of_equal_regions": report["gcnr_bias"],
        "measures": compared,
        "changes": changes,
        "notice": report["notice"],
    }


def text_of(report: Mapping[str, Any], out: Path, *, folder: Path, record: Mapping[str, Any]) -> str:
    """The report in the format that the extension of `out` names."""
    match out.suffix.lower():
        case ".json":
            return to_json(report)
        case ".csv":
            return _csv(report)
        case _:
            return render(page(report, folder=folder, record=record))


def _csv(report: Mapping[str, Any]) -> str:
    """A row per frame, then mean and standard deviation; a measure that does not apply is empty."""
    text = io.StringIO()
    keys = list(report["mean"])
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", *keys])
    for index, row in enumerate(report["frames"]):
        writer.writerow([index, *(_cell(row[key]) for key in keys)])
    for name in ("mean", "std"):
        writer.writerow([name, *(_cell(report[name][key]) for key in keys)])
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def page(report: Mapping[str, Any], *, folder: Path, record: Mapping[str, Any]) -> Page:
    """A page with the verdict, the numbers beside their yardsticks, and the pictures of the run folder."""
    n = len(report["frames"])
    frames = f"{n} frame{'s' if n > 1 else ''}"
    reasons = " ".join(report["reasons"]) or "Every condition of the verdict holds."
    notes = " ".join(f"Warning: {line}" for line in report["warnings"])
    verdict = Section(
        "Verdict",
        f"{report['verdict'].capitalize()}. {reasons}" + (f"\n\n{notes}" if notes else ""),
        tables=(_changes(report),),
    )
    numbers = Section(
        "Numbers",
        f"Means over {frames}, with standard errors where there are several. Levels are dB below one common "
        f"peak, clipped at -{report['dynamic_range_db']:g} dB. gCNR of two regions of equal levels would be "
        f"{report['gcnr_bias']:.3f} with these sizes and {report['gcnr_bins']} bins.",
        tables=(_numbers(report),),
    )
    pictures = Section(
        "Pictures",
        "The first frame with the regions outlined, and the levels inside the regions over all frames.",
        pictures=(
            Picture(
                folder / "comparison.png", "Input and output.", "B-mode of input and output side by side"
            ),
            Picture(folder / "levels.png", "Levels before and after.", "Histograms of levels per region"),
        ),
    )
    return Page(
        "Evaluation of a dehazing",
        f"`{report['output']}` measured against `{report['input']}` over {frames}: {report['verdict']}.",
        (verdict, numbers, pictures),
        footer=run_footer(record, disclaimer=report["notice"]),
    )


def _changes(report: Mapping[str, Any]) -> Table:
    rows = []
    for name, key, limit in CHANGES:
        value = report["mean"].get(key)
        cell = None if value is None else Number(value, _error(report, key))
        rows.append(Row(name, (cell, limit.format(**report["limits"]) or None)))
    return Table((Column("found", decimals=3), Column("needed")), tuple(rows), first="change")


def _numbers(report: Mapping[str, Any]) -> Table:
    ways = {"PSNR": "higher", "SSIM": "higher", "KS": "lower", "gCNR": "higher", "cavity": "lower"}
    kept = [entry for entry in COMPARED if report["mean"].get(entry[2]) is not None]
    columns = tuple(
        Column(
            name,
            better=ways.get(name.split()[0].strip(",")),  # type: ignore[arg-type]
            decimals=2 if "(dB)" in name else 3,
        )
        for name, *_ in kept
    )
    labels = (("input", "baseline"), ("output", "result"), ("reference", "ceiling"))
    rows = []
    for index, (label, role) in enumerate(labels):
        keys = [entry[1 + index] for entry in kept]
        values = [report["mean"].get(key) if key else None for key in keys]
        if all(value is None for value in values):
            continue
        cells = tuple(
            None if value is None else Number(value, _error(report, str(key)))
            for key, value in zip(keys, values, strict=True)
        )
        rows.append(Row(label, cells, role))  # type: ignore[arg-type]
    return Table(columns, tuple(rows), first="lines")


def _error(report: Mapping[str, Any], key: str) -> float | None:
    """Standard error over frames, where there are several."""
    spread = report["std"].get(key)
    return None if spread is None else spread / math.sqrt(len(report["frames"]))
