"""Measuring a dehazing: an input, an output, perhaps a reference, and the regions to measure in."""

from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Record
from domains.ultrasound.display import envelope_of, levels_db
from domains.ultrasound.metrics import picture_to_db
from domains.ultrasound.plots import plot_histograms
from domains.ultrasound.roi import read_roi
from domains.ultrasound.verdict import evaluate
from domains.ultrasound.workflows.acquire import open_record
from domains.ultrasound.workflows.dehazing import regions_of, sha256

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
) -> dict[str, Any]:
    """Measure an output against its input (and a reference) and give the combined verdict.

    Lines and envelopes are shown in dB of one common peak, the reference's or else the input's; 8-bit
    pictures keep their own grey levels, 255 being 0 dB. A simulated input brings its regions and its
    reference.

    Raises:
        DataError: shapes or kinds differ, or no regions are given.
    """
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
    if roi is not None:
        masks = read_roi(roi, first.values.shape[1:3], geometry=first.geometry)
        regions = {name: np.broadcast_to(mask, first.values.shape[:3]) for name, mask in masks.items()}
    else:
        regions = regions_of(first, None)
    if not {"tissue", "cavity"} <= set(regions):
        raise DataError(
            "no regions to measure in: the input carries no truth.",
            hint='Give --roi FILE with "tissue" and "cavity".',
        )
    truth = first.with_values(first.truth["tissue"], truth={}) if "tissue" in first.truth else None
    against = records["reference"][0] if reference is not None else truth
    levels = _common_levels(first, records["output"][0], against, dynamic_range_db)
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
        **report.to_dict(),
    }
    result["warnings"] = list(
        dict.fromkeys([*report.warnings, *(line for _, warnings in records.values() for line in warnings)])
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        plot_histograms(levels["input"], levels["output"], regions, folder / "levels.png", bins=bins)
        result["figures"] = ["levels.png", "levels.csv"]
    return result


def _common_levels(
    source: Record, output: Record, reference: Record | None, dynamic_range_db: float
) -> dict[str, np.ndarray]:
    named = {"input": source, "output": output} | ({"reference": reference} if reference is not None else {})
    if source.kind == "image":
        return {name: _picture_db(name, record, dynamic_range_db) for name, record in named.items()}
    yardstick = envelope_of(source if reference is None else reference)
    peak = yardstick.max(axis=(1, 2), keepdims=True)
    out = {}
    for name, record in named.items():
        if record.kind == "image":
            raise DataError(
                f"the {name} is a picture, the input holds {source.kind}.", hint="Convert both to one kind."
            )
        out[name] = levels_db(envelope_of(record), peak, dynamic_range_db=dynamic_range_db)
    return out


def _picture_db(name: str, record: Record, dynamic_range_db: float) -> np.ndarray:
    if record.kind != "image":
        raise DataError(
            f"the {name} holds {record.kind}, the input is a picture.", hint="Convert both to one kind."
        )
    values = record.values
    if values.ndim == 4:
        values = values[..., 0]
    if values.dtype == np.uint8:
        return np.stack([picture_to_db(frame, dynamic_range_db=dynamic_range_db) for frame in values])
    return values
