"""Restoring pictures that were measured through an operator: masked, reduced, blurred, or in k-space.

| operator  | what the input holds                          | what `simulate` measures of a clean input |
| --------- | --------------------------------------------- | ----------------------------------------- |
| `inpaint` | pictures, and a mask of the pixels that count | a random share of the pixels              |
| `sr4`     | pictures of a quarter of the rows and columns | means of 4 x 4 pixels                     |
| `blur`    | pictures blurred by a Gaussian of known width | the same, on a torus                      |
| `mri`     | (simulated only)                              | a random share of the rows of k-space     |

The noise is in the unit of the file, steps of 255 or dB, and is converted once, by `core.inverse.solve`,
which runs every solver. A simulated measurement has a truth: its PSNR stands beside that of the first guess,
the pseudo-inverse.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.device import choose_device
from core.errors import ConfigError, DataError, unknown
from core.inverse import METHODS, Convolution, Fourier, Inpainting, Linear, Separable, gaussian_kernel, solve
from core.progress import Progress, silent
from core.state import Seeds, randn
from domains.ultrasound.metrics import psnr
from domains.ultrasound.verdict import NOTICE
from domains.ultrasound.video.levels import Cine
from domains.ultrasound.video.plots import plot_pictures
from domains.ultrasound.video.prior import load_picture_prior, pixel_warnings
from domains.ultrasound.workflows.acquire import size_of
from domains.ultrasound.workflows.judging import sha256
from domains.ultrasound.workflows.outlook import Outlook, Ready, at_once, check_output, many
from domains.ultrasound.workflows.video import PICTURE_FILES, extent_of, open_cine, write_pictures

__all__ = ["OPERATORS", "operator_of", "solve_file"]

OPERATORS = ("inpaint", "sr4", "blur", "mri")
CENTRE = 0.08  # share of the rows of k-space around zero that is always sampled


def operator_of(
    name: str,
    shape: tuple[int, int],
    *,
    mask: np.ndarray | None = None,
    keep: float = 0.5,
    blur_px: float = 2.0,
    seed: int = 0,
) -> Linear:
    """The operator of this name on pictures of this size (row, col).

    Args:
        mask: pixels that count, for "inpaint"; a random share `keep` when None.
        keep: share of the pixels, or of the rows of k-space, that is measured.
        blur_px: standard deviation of the blur.
        seed: of what is drawn.
    """
    gen = torch.Generator().manual_seed(seed)
    if name in ("inpaint", "mri") and not 0 < keep <= 1:
        raise ConfigError(f"keep must lie in (0, 1], got {keep}.")
    match name:
        case "inpaint":
            drawn = torch.rand(shape, generator=gen) < keep
            return Inpainting((drawn if mask is None else torch.from_numpy(mask))[None])
        case "sr4":
            return Separable.average((1, *shape), 4)
        case "blur":
            if not blur_px > 0:
                raise ConfigError(f"blur_px must be above 0, got {blur_px}.")
            return Convolution(gaussian_kernel(blur_px), (1, *shape))
        case "mri":
            rows = torch.fft.fftfreq(shape[0]).abs() <= CENTRE / 2
            rows = rows | (torch.rand(shape[0], generator=gen) < keep)
            return Fourier(rows[:, None].expand(shape).clone(), channels=1)
    raise unknown("operator", name, OPERATORS)


def solve_file(
    path: Path,
    out: Path,
    *,
    operator: str,
    prior: Path | None,
    method: str = "reddiff",
    nfe: int = 100,
    samples: int = 1,
    noise: float = 2.0,
    simulate: bool = False,
    mask: Path | None = None,
    keep: float = 0.5,
    blur_px: float = 2.0,
    dynamic_range_db: float = 60.0,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Restore measured pictures under a prior of clean ones.

    Args:
        prior: checkpoint of the role "bmode".
        method: a solver of `core.inverse`.
        nfe: calls of the network per picture and sample.
        samples: posterior samples averaged, for methods that draw.
        noise: standard deviation of the measurement, steps of 255 for 8-bit pictures, else dB.
        simulate: the input is clean: measure it first, and report how well it comes back.
        mask: PNG of the size of the pictures, 0 where a pixel does not count, for "inpaint".
        keep, blur_px: see `operator_of`.
        folder: a figure of the first picture goes here.
    """
    if operator not in OPERATORS:
        raise unknown("operator", operator, OPERATORS)
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    check_output(out, PICTURE_FILES, overwrite=overwrite, source=path)
    where, note = choose_device(device)
    if nfe < 1 or samples < 1 or not noise >= 0:
        raise ConfigError(f"expected nfe >= 1, samples >= 1, noise >= 0, got {nfe}, {samples}, {noise}.")
    if samples > 1 and METHODS[method].kind != "sample":
        raise ConfigError(f"method '{method}' finds an optimum; only samples can be averaged.")
    if operator == "mri" and not simulate:
        raise ConfigError("k-space is not read from pictures.", hint="Pass --simulate with a clean picture.")
    if prior is None:
        raise ConfigError(
            "solve needs a prior of pictures.",
            hint="Train one: suffuse ultrasound train bmode -o prior.safetensors, and pass --prior.",
        )
    known = load_picture_prior(prior)
    cine, warnings = open_cine(path, out, pixel_m=known.pixel_m, dynamic_range_db=dynamic_range_db)
    cine, grown = _framed(cine, operator, simulate)
    shape = (cine.levels.shape[1] * grown, cine.levels.shape[2] * grown)
    weighed = _mask(mask, shape) if operator == "inpaint" and not (simulate and mask is None) else None
    chosen = operator_of(operator, shape, mask=weighed, keep=keep, blur_px=blur_px, seed=seed)
    warnings += pixel_warnings(known, cine.record.geometry.pixel_m)
    n = len(cine.levels)
    calls = nfe * n * samples
    plan = (
        f"solve {operator} of {path}: {size_of(cine.record)}, method {method}, noise {noise:g}",
        f"{nfe} evaluations x {many(samples, 'sample')} x {many(n, 'frame')} = {calls} network calls",
        f"{note or f'device: {where}'}; output: {out}",
    )
    ready(Outlook(plan, tuple(dict.fromkeys(warnings)), str(where)))
    unit = (0.0, 255.0) if cine.record.values.dtype == np.uint8 else (-dynamic_range_db, 0.0)
    values = torch.from_numpy(np.asarray(cine.record.values, dtype=np.float32))[:, None].to(where)
    y = chosen.A(values) if simulate else values
    if simulate:
        y = y + noise * randn(y, Seeds([seed + 1] * n))
    progress("solve", 0, 1, None)
    found = solve(
        known.denoiser.to(where),
        chosen,
        y,
        noise,
        method=method,
        nfe=nfe,
        gen=Seeds([seed + k for _ in range(n) for k in range(samples)]),
        samples=samples,
        data_range=unit,
    )
    progress("solve", 1, 1, None)
    guess = _first_guess(chosen, y, unit)
    solved, first = (x[:, 0].cpu().clamp(*unit).numpy() for x in (found.x, guess))
    report: dict[str, Any] = {
        "input": str(path),
        "input_sha256": sha256(path),
        "output": str(out),
        "operator": operator,
        "method": method,
        "kind": found.kind,
        "checkpoint_sha256": sha256(prior),
        "shape": list(solved.shape),
        "noise": noise,
        "nfe": found.nfe,
        "seed": seed,
        "device": str(where),
        "residual": [float(value) for value in found.residual],
        "notice": NOTICE,
    }
    if simulate:
        truth = values[:, 0].cpu().numpy()
        span = unit[1] - unit[0]
        report |= {
            "psnr_db": psnr(solved, truth, data_range=span),
            "psnr_first_guess_db": psnr(first, truth, data_range=span),
        }
    side = cine.record.geometry.pixel_m
    geometry = replace(
        cine.record.geometry, pixel_m=None if side is None else (side[0] / grown, side[1] / grown)
    )
    kind = cine.record.values.dtype
    stored = np.rint(solved).astype(np.uint8) if kind == np.uint8 else solved.astype(np.float32)
    meta = {**cine.record.meta, "derivation": f"{operator} solved by {method}"}
    restored = replace(cine.record, values=stored, geometry=geometry, truth={}, meta=meta)
    if folder is not None:
        pictures = {"first guess": first, f"solved by {method}": solved}
        if simulate:
            pictures["truth"] = values[:, 0].cpu().numpy()
        plot_pictures(
            {name: (x[0] - unit[1]) * dynamic_range_db / (unit[1] - unit[0]) for name, x in pictures.items()},
            folder / "solved.png",
            extent_mm=extent_of(restored),
            dynamic_range_db=dynamic_range_db,
        )
        report["figures"] = ["solved.png", "solved.csv"]
    warnings += write_pictures(restored, out, source=path, overwrite=overwrite)
    return report | {"warnings": list(dict.fromkeys(warnings))}


def _framed(cine: Cine, operator: str, simulate: bool) -> tuple[Cine, int]:
    """Pictures that the operator can serve, and how much larger the restored ones are than these."""
    if operator != "sr4":
        return cine, 1
    if not simulate:
        return cine, 4
    rows, cols = (4 * (n // 4) for n in cine.levels.shape[1:])
    record = replace(cine.record, values=cine.record.values[:, :rows, :cols])
    return replace(cine, record=record, levels=cine.levels[:, :rows, :cols]), 1


def _mask(path: Path | None, shape: tuple[int, int]) -> np.ndarray:
    """Pixels that count, (row, col)."""
    from PIL import Image, UnidentifiedImageError

    if path is None:
        raise ConfigError(
            "inpaint needs to know which pixels count.", hint="Give --mask FILE.png, 0 where they do not."
        )
    try:
        with Image.open(path) as picture:
            found = np.asarray(picture.convert("L")) > 0
    except (OSError, UnidentifiedImageError) as err:
        raise DataError(f"{path} cannot be read as a mask.", hint="Give a grey PNG.") from err
    if found.shape != shape or not found.any():
        raise DataError(f"the mask has shape {found.shape} with {int(found.sum())} pixels, expected {shape}.")
    return np.array(found)


def _first_guess(operator: Linear, y: Tensor, unit: tuple[float, float]) -> Tensor:
    """The pseudo-inverse about the middle of the range, in the user's unit: what solvers start from."""
    middle = torch.full((1, *operator.shape), (unit[0] + unit[1]) / 2, dtype=y.dtype, device=y.device)
    return middle + operator.pinv(operator.seen(y) - operator.A(middle))
