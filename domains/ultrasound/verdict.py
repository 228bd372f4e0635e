"""The combined report: what a dehazing did to tissue and cavity, and whether it deserves the word "dehazed".

No single measure can tell. Smoothing the speckle drives gCNR to 1 while the cavity stays as hazy as before;
a threshold darkens the cavity while gCNR stays put; turning the gain down darkens everything. So the
verdict reads them together:

| condition                             | limit       | what fails it                      |
| ------------------------------------- | ----------- | ---------------------------------- |
| cavity level falls                    | >= 3 dB     | smoothing                          |
| KS of tissue, output against input    | <= .25      | smoothing, erased or boosted tissue |
| lateral speckle FWHM of tissue, ratio | .85 to 1.15 | smoothing, invented texture        |
| tissue level does not fall            | < 3 dB      | erased tissue, gain turned down    |

The fourth closes a gap of the other three: where tissue levels are widely spread, a plain change of gain
passes them all. Conditions are read on the means over frames.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError
from domains.ultrasound.contrast import GCNR_BINS, gcnr, gcnr_bias, gcnr_warnings, ks
from domains.ultrasound.metrics import flicker, psnr_db
from domains.ultrasound.similarity import ssim
from domains.ultrasound.speckle import speckle_fwhm

__all__ = ["Limits", "Report", "evaluate"]

Array = np.ndarray[Any, np.dtype[Any]]
Row = dict[str, float | None]

NOTICE = "Research use only; not for diagnosis."


@dataclass(frozen=True)
class Limits:
    """Thresholds of the verdict.

    `erased_db`: a fall of the tissue level that counts as erased tissue. `erased_with_ks_db`: the smaller
    fall that already does when the tissue KS is above its limit too.
    """

    cavity_drop_db: float = 3.0
    tissue_ks: float = 0.25
    lateral_fwhm_low: float = 0.85
    lateral_fwhm_high: float = 1.15
    erased_db: float = 3.0
    erased_with_ks_db: float = 1.0
    flicker: float = 1.2


@dataclass(frozen=True)
class Report:
    """Measures per frame, their mean and sample standard deviation, and the verdict on the means.

    A measure that does not apply is None: those of a reference that was not given, the standard deviation
    of one frame, a width where the autocorrelation does not fall to one half, PSNR of equal images.
    """

    verdict: str
    dehazed: bool
    tissue_erased: bool
    reasons: list[str]
    warnings: list[str]
    mean: Row
    std: Row
    frames: list[Row]
    gcnr_bias: float
    gcnr_bins: int
    roi_px: dict[str, int]
    dynamic_range_db: float
    flicker: float | None
    limits: Limits = field(default_factory=Limits)
    notice: str = NOTICE

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; every number is finite."""
        return asdict(self)


def evaluate(
    source: Array,
    output: Array,
    rois: Mapping[str, Array],
    *,
    reference: Array | None = None,
    dynamic_range_db: float = 60.0,
    bins: int = GCNR_BINS,
    with_ssim: bool = True,
    limits: Limits | None = None,
) -> Report:
    """Measure a dehazed image or cine against its input and, where there is one, the truth.

    All images are dB relative to one common peak, the maximum of the reference or else of the input; levels
    below -dynamic_range_db are clipped. 8-bit pictures: `metrics.picture_to_db` first.

    Args:
        source: hazy input Y, (row, col) or (frame, row, col), dB <= 0.
        output: dehazed X, same shape.
        rois: masks (row, col), or (frame, row, col) where regions move: "tissue" and "cavity", and "static"
            for the flicker of a cine if wanted.
        reference: haze-free R, same shape.
        bins: of gCNR; 256 reproduces the papers.
        with_ssim: measure structural similarity to the reference too, which imports MONAI (some seconds,
            once).

    Returns:
        The report; `to_dict()` makes it JSON.

    Raises:
        DataError: shapes differ, levels are not dB, a region is missing, empty or of other size.
    """
    limits = limits or Limits()
    y = _cine(source, "the input", None, dynamic_range_db)
    x = _cine(output, "the output", y.shape, dynamic_range_db)
    r = None if reference is None else _cine(reference, "the reference", y.shape, dynamic_range_db)
    masks = {name: _masks(rois, name, y.shape) for name in ("tissue", "cavity")}
    rows = []
    for i in range(len(y)):
        tissue, cavity = masks["tissue"][i], masks["cavity"][i]
        row = _measure(y[i], x[i], tissue, cavity, bins)
        if r is not None:
            row |= _against(r[i], y[i], x[i], tissue, cavity, dynamic_range_db, bins)
        if r is not None and with_ssim:
            for name, image in _named(y[i], x[i]):
                row[f"ssim_{name}"] = ssim(image, r[i], dynamic_range_db=dynamic_range_db)
        rows.append(row)
    mean = {key: _mean([row[key] for row in rows]) for key in rows[0]}
    std = {key: _std([row[key] for row in rows]) for key in rows[0]}
    sizes = {name: round(np.count_nonzero(mask) / len(mask)) for name, mask in masks.items()}
    ratio = flicker(x, y, _static(rois, y.shape)) if "static" in rois and len(y) > 1 else None
    reasons = _reasons(mean, limits)
    erased = _erased(mean, limits)
    warnings = gcnr_warnings(sizes["tissue"], sizes["cavity"], bins)
    if erased is not None:
        warnings.append(erased)
    if ratio is not None and ratio > limits.flicker:
        warnings.append(
            f"flicker: frames differ {ratio:.2f} times as much as in the input where nothing moves."
        )
    return Report(
        verdict="not dehazed" if reasons else "dehazed",
        dehazed=not reasons,
        tissue_erased=erased is not None,
        reasons=reasons,
        warnings=warnings,
        mean=mean,
        std=std,
        frames=rows,
        gcnr_bias=gcnr_bias(sizes["tissue"], sizes["cavity"], bins),
        gcnr_bins=bins,
        roi_px=sizes,
        dynamic_range_db=dynamic_range_db,
        flicker=_finite_or_none(ratio),
        limits=limits,
    )


def _measure(y: Array, x: Array, tissue: Array, cavity: Array, bins: int) -> Row:
    """Measures of one frame that need no reference. Levels are means over the region, in dB."""
    width_y, width_x = _widths(y, tissue), _widths(x, tissue)
    levels = {
        f"{region}_level_{name}_db": float(image[mask].mean())
        for name, image in _named(y, x)
        for region, mask in (("cavity", cavity), ("tissue", tissue))
    }
    return {
        "gcnr_input": gcnr(y[tissue], y[cavity], bins=bins),
        "gcnr_output": gcnr(x[tissue], x[cavity], bins=bins),
        "tissue_ks": ks(y[tissue], x[tissue]),
        "cavity_ks": ks(y[cavity], x[cavity]),
        **levels,
        "cavity_change_db": levels["cavity_level_output_db"] - levels["cavity_level_input_db"],
        "tissue_change_db": levels["tissue_level_output_db"] - levels["tissue_level_input_db"],
        "axial_fwhm_ratio": width_x[0] / width_y[0] if width_x and width_y else None,
        "lateral_fwhm_ratio": width_x[1] / width_y[1] if width_x and width_y else None,
    }


def _against(
    r: Array, y: Array, x: Array, tissue: Array, cavity: Array, dynamic_range_db: float, bins: int
) -> Row:
    """Measures of one frame against the reference, for the output and, as yardstick, for the input."""
    row: Row = {"gcnr_reference": gcnr(r[tissue], r[cavity], bins=bins)}
    for name, image in _named(y, x):
        row[f"psnr_{name}_db"] = _finite_or_none(psnr_db(image, r, dynamic_range_db=dynamic_range_db))
        row[f"tissue_ks_{name}_reference"] = ks(image[tissue], r[tissue])
        row[f"cavity_ks_{name}_reference"] = ks(image[cavity], r[cavity])
    row["cavity_level_reference_db"] = float(r[cavity].mean())
    row["tissue_level_reference_db"] = float(r[tissue].mean())
    return row


def _reasons(mean: Row, limits: Limits) -> list[str]:
    """Why the means do not deserve "dehazed"; empty when they do."""
    cavity, tissue, tissue_ks = (mean[key] for key in ("cavity_change_db", "tissue_change_db", "tissue_ks"))
    assert cavity is not None
    assert tissue is not None
    assert tissue_ks is not None
    width, low, high = mean["lateral_fwhm_ratio"], limits.lateral_fwhm_low, limits.lateral_fwhm_high
    reasons = []
    if -cavity < limits.cavity_drop_db:
        reasons.append(
            f"cavity level changed by {cavity:+.1f} dB, expected -{limits.cavity_drop_db:g} dB or less."
        )
    if tissue_ks > limits.tissue_ks:
        reasons.append(
            f"tissue KS is {tissue_ks:.3f}, expected at most {limits.tissue_ks:g}: levels were altered."
        )
    if width is None:
        reasons.append("lateral speckle width of tissue not measurable: choose a larger, even tissue region.")
    elif not low <= width <= high:
        reasons.append(f"lateral speckle width of tissue times {width:.2f}, expected {low:g} to {high:g}.")
    if -tissue >= limits.erased_db:
        reasons.append(f"tissue level fell by {-tissue:.1f} dB, expected less than {limits.erased_db:g} dB.")
    return reasons


def _erased(mean: Row, limits: Limits) -> str | None:
    """A warning when tissue was removed with the haze: its level fell far, or fell and KS is high too."""
    fall, tissue_ks = mean["tissue_change_db"], mean["tissue_ks"]
    assert fall is not None
    assert tissue_ks is not None
    allowed = limits.erased_with_ks_db if tissue_ks > limits.tissue_ks else limits.erased_db
    if -fall < allowed:
        return None
    return (
        f"tissue erased: its level fell by {-fall:.1f} dB (KS {tissue_ks:.3f}). The prior may not know this "
        "tissue; look at the difference image before using the output."
    )


def _named(y: Array, x: Array) -> tuple[tuple[str, Array], tuple[str, Array]]:
    return ("input", y), ("output", x)


def _widths(image: Array, tissue: Array) -> tuple[float, float] | None:
    try:
        return speckle_fwhm(image, tissue)
    except DataError:  # no speckle to measure: reported as None, and as a reason when it decides the verdict
        return None


def _cine(image: Array, name: str, shape: tuple[int, ...] | None, dynamic_range_db: float) -> Array:
    if not dynamic_range_db > 0:
        raise ConfigError(f"dynamic_range_db must be above 0, got {dynamic_range_db}.")
    values = np.asarray(image, dtype=np.float64)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or len(values) == 0:
        raise DataError(f"{name} must be (row, col) or (frame, row, col), got shape {np.shape(image)}.")
    if shape is not None and values.shape != shape:
        raise DataError(
            f"{name} has shape {values.shape}, the input {shape}.", hint="Compare frames of the same grid."
        )
    if np.isnan(values).any() or values.max() > 1e-3:
        raise DataError(
            f"{name} must hold dB levels <= 0, got a maximum of {values.max():.3g}.",
            hint="Compress envelopes with signal.log_compress, pictures with metrics.picture_to_db.",
        )
    return np.clip(values, -dynamic_range_db, 0.0)


def _masks(rois: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    if name not in rois:
        raise DataError(
            f"the ROIs hold {', '.join(sorted(rois)) or 'nothing'}; the report needs 'tissue' and 'cavity'.",
            hint="Name the regions so.",
        )
    mask = np.asarray(rois[name], dtype=bool)
    if mask.shape not in (shape, shape[1:]):
        raise DataError(f"ROI '{name}' has shape {mask.shape}, the image {shape[1:]} (row, col).")
    masks = np.broadcast_to(mask, shape)
    if not masks.any(axis=(1, 2)).all():
        raise DataError(f"ROI '{name}' is empty in frame {int(np.argmin(masks.any(axis=(1, 2))))}.")
    return masks


def _static(rois: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
    """Pixels that are static in every frame."""
    return np.asarray(_masks(rois, "static", shape).all(axis=0))


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _std(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
