"""Measuring a dehazing: an input, an output, perhaps a reference, and the regions to measure in."""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError
from domains.ultrasound.data import Record
from domains.ultrasound.display import envelope_of, levels_db, view_of
from domains.ultrasound.metrics import picture_to_db
from domains.ultrasound.plots import plot_comparison, plot_histograms
from domains.ultrasound.verdict import evaluate
from domains.ultrasound.workflows.acquire import open_record, size_of
from domains.ultrasound.workflows.judging import regions_of, sha256
from domains.ultrasound.workflows.outlook import Outlook, Ready, at_once

__all__ = ["evaluate_files"]


def evaluate_files(
    source: Path,
    output: Path,
    *,
    reference: Path | None = None,
    roi: Path | None = None,
    bins: int = 64,
    dynamic_range_db: float = 60.0,
    folder: Path | None = None,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Measure an output against its input (and a reference) and give the combined verdict.

    Lines and envelopes are shown in dB of one common peak, the reference's or else the input's; 8-bit
    pictures keep their own grey levels, 255 being 0 dB. A simulated input brings its regions and its
    reference.

    Args:
        bins: of gCNR; 256 reproduces the papers.
        folder: histograms of the regions and a picture of the first frame go here.

    Raises:
        DataError: shapes or kinds differ, or no regions are given.
    """
    if bins < 2 or not dynamic_range_db > 0:
        raise ConfigError(f"expected 2 bins and a range above 0 dB, got {bins} and {dynamic_range_db} dB.")
    records = {"input": open_record(source), "output": open_record(output)}
    if reference is not None:
        records["reference"] = open_record(reference)
    first = records["input"][0]
    for name, (record, _) in records.items():
        if record.values.shape[:3] != first.values.shape[:3]:
            raise DataError(
                f"the {name} has shape {record.values.shape}, the input {first.values.shape}.",
                hint="Compare recordings of the same frames and size.",
            )
        if record.kind == "raw_data":
            raise DataError(f"the {name} holds raw_data.", hint="Beamform it: suffuse ultrasound beamform.")
    regions = regions_of(first, roi)
    if not {"tissue", "cavity"} <= set(regions):
        raise DataError(
            "no regions to measure in: the input carries no truth.",
            hint='Give --roi FILE with "tissue" and "cavity".',
        )
    truth = first.with_values(first.truth["tissue"], truth={}) if "tissue" in first.truth else None
    against = records["reference"][0] if reference is not None else truth
    levels = _common_levels(first, records["output"][0], against, dynamic_range_db)
    warnings = [line for _, found in records.values() for line in found]
    plan = (
        f"evaluate {output} against {source}: {size_of(first)}",
        f"reference: {reference or ('the truth in the input' if truth is not None else 'none')}; "
        f"regions: {', '.join(sorted(regions))} from {roi or 'the truth in the input'}",
    )
    ready(Outlook(plan, tuple(dict.fromkeys(warnings))))
    report = evaluate(
        levels["input"],
        levels["output"],
        regions,
        reference=levels.get("reference"),
        dynamic_range_db=dynamic_range_db,
        bins=bins,
    )
    result = {
        "input": str(source),
        "input_sha256": sha256(source),
        "output": str(output),
        "output_sha256": sha256(output),
        "reference": str(reference) if reference else None,
        "reference_sha256": sha256(reference) if reference else None,
        "roi": str(roi) if roi else None,
        **report.to_dict(),
        "warnings": list(dict.fromkeys([*report.warnings, *warnings])),
    }
    if folder is not None:
        plot_histograms(
            levels["input"],
            levels["output"],
            regions,
            folder / "levels.png",
            bins=bins,
            dynamic_range_db=dynamic_range_db,
        )
        _draw(first, levels, regions, folder / "comparison.png", dynamic_range_db)
        result["figures"] = ["comparison.png", "comparison.csv", "levels.png", "levels.csv"]
    return result


def _draw(
    record: Record,
    levels: dict[str, np.ndarray],
    regions: dict[str, np.ndarray],
    out: Path,
    dynamic_range_db: float,
) -> None:
    """Input and output of the first frame side by side, scan-converted where the geometry allows."""
    flat = record.kind == "image" and record.geometry.angles_rad is None
    view = None if flat else view_of(record.geometry, record.values.shape[1])
    masks = {name: mask[0] for name, mask in regions.items()}
    shown = {
        name: image[0] if view is None else view.picture(image[0], fill=-dynamic_range_db)
        for name, image in levels.items()
    }
    plot_comparison(
        shown["input"],
        shown["output"],
        out,
        rois=masks if view is None else view.masks(masks),
        extent_mm=None if view is None else view.extent_mm,
        dynamic_range_db=dynamic_range_db,
    )


def _common_levels(
    source: Record, output: Record, reference: Record | None, dynamic_range_db: float
) -> dict[str, np.ndarray]:
    named = {"input": source, "output": output} | ({"reference": reference} if reference is not None else {})
    if source.kind == "image":
        return {name: _picture_db(name, record, dynamic_range_db) for name, record in named.items()}
    for name, record in named.items():
        if record.kind == "image":
            raise DataError(
                f"the {name} is a picture, the input holds {source.kind}.", hint="Convert both to one kind."
            )
    yardstick = envelope_of(source if reference is None else reference)
    peak = yardstick.max(axis=(1, 2), keepdims=True)
    return {
        name: levels_db(envelope_of(record), peak, dynamic_range_db=dynamic_range_db)
        for name, record in named.items()
    }


def _picture_db(name: str, record: Record, dynamic_range_db: float) -> np.ndarray:
    if record.kind != "image":
        raise DataError(
            f"the {name} holds {record.kind}, the input is a picture.", hint="Convert both to one kind."
        )
    values = record.values
    if values.dtype == np.uint8:
        grey = np.rint(values.mean(axis=-1)).astype(np.uint8) if values.ndim == 4 else values
        return picture_to_db(grey, dynamic_range_db=dynamic_range_db)
    return values
