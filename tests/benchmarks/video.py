"""How each method of `dehaze-video` does on simulated cines whose truth is known, with a prior trained here.

    python -m tests.benchmarks.video            # prints the table
    python -m tests.benchmarks.video --write    # and keeps it in results/video.json

Two studies, each over two hearts that the prior never saw (seeds 1000 and 1001), seven frames of a quarter
beat, scan-converted at 1 mm:

    mixture   haze at level .3 mixed into the lines, then log-compressed, as a scanner would show it
    veil      a still veil added to the levels of the clean pictures: the very model of nuclear diffusion

The prior is the "demo" recipe on 20 simulated pictures, about 90 CPU-s on one thread; everything takes
about five CPU-minutes. mu and gamma of nuclear were chosen on another heart (seed 2000).

Yardsticks: the hazy cine, the truth, and "nuclear, true frames": the same rule under a prior that answers the
true frames at every level, which is what the separation itself can reach. `grey` says what the trained prior
answers where the truth is black and the input is not: a prior that would see haze there answers black.
"""

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.denoise import wrap
from domains.ultrasound.config import VideoConfig, recipe
from domains.ultrasound.simulate import simulate
from domains.ultrasound.video.dehaze import dehaze_cine
from domains.ultrasound.video.levels import Cine, cine_of
from domains.ultrasound.video.prior import PicturePrior, simulated_pictures, train_picture_prior
from domains.ultrasound.workflows.video import judge_cine

RESULTS = Path(__file__).parent / "results" / "video.json"
SEEDS = (1000, 1001)
FRAMES, PIXEL_M, LEVEL, VEIL = 7, 1e-3, 0.3, 0.5
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "hazy": ("none", {}),
    "threshold": ("threshold", {}),
    "svd": ("svd", {}),
    "rpca": ("rpca", {}),
    "nuclear": ("nuclear", {}),
    "nuclear, prox": ("nuclear", {"shrink": "prox"}),
    "nuclear, start 2": ("nuclear", {"start_sigma": 2.0}),
    "nuclear, true frames": ("nuclear", {}),
    "semantic": ("semantic", {}),
}


def mixture(seed: int) -> Cine:
    """A hazy cine of one heart, its truth and its regions."""
    record = simulate(seed=seed, frames=FRAMES, cycles=0.25, level=LEVEL)
    masks = {"cavity": record.truth["ventricle"], "tissue": record.truth["myocardium"]}
    still = np.logical_and.reduce(masks["tissue"])
    return cine_of(
        record, regions={**masks, "static": np.broadcast_to(still, masks["tissue"].shape)}, pixel_m=PIXEL_M
    )


def veiled(cine: Cine) -> Cine:
    """The truth of a cine under a still, smooth veil that is brightest at its centre."""
    assert cine.reference is not None
    rows, cols = cine.reference.shape[1:]
    down, across = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, cols)[None]
    veil = VEIL * np.exp(-2 * (down**2 + across**2)) * (cine.levels > -1).any(0)
    levels = np.clip(cine.reference + veil, -1, 1).astype(np.float32)
    return replace(cine, levels=levels, shift_db=0.0)


class Truth(nn.Module):
    """A network that answers the true frames (F, 1, H, W) whatever it is shown."""

    frames: Tensor

    def __init__(self, frames: Tensor) -> None:
        super().__init__()
        self.register_buffer("frames", frames)

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        return self.frames


def truth_of(cine: Cine) -> Tensor:
    """The true frames in the levels of the input, whose peak may be another, (F, 1, H, W)."""
    shift = 2 * cine.shift_db / cine.dynamic_range_db
    return (torch.from_numpy(np.array(cine.reference)) - shift).clamp(-1, 1)[:, None].float()


def knowing(prior: PicturePrior, cine: Cine) -> PicturePrior:
    """A prior of this cine alone."""
    return replace(prior, denoiser=wrap(Truth(truth_of(cine)), prior.denoiser.process, predicts="x0"))


def grey(cine: Cine, prior: PicturePrior) -> dict[str, float]:
    """Mean level of the cavity: of the input, of what the prior answers at noise .47 and 1, of the truth."""
    y, gen = torch.from_numpy(np.array(cine.levels))[:, None].float(), torch.Generator().manual_seed(0)
    inside = torch.from_numpy(np.array(cine.masks["cavity"]))[:, None]
    found = {"input": y}
    with torch.no_grad():
        for sigma in (0.47, 1.0):
            noisy = y + sigma * torch.randn(y.shape, generator=gen)
            found[f"prior at {sigma:g}"] = prior.denoiser(noisy, sigma).mean
    return {name: float(x[inside].mean()) for name, x in {**found, "truth": truth_of(cine)}.items()}


def measured(cine: Cine, method: str, changes: dict[str, Any], prior: PicturePrior) -> dict[str, Any]:
    """One cine through one method."""
    start = time.process_time()
    found = dehaze_cine(cine.levels, method, VideoConfig(**changes), prior=prior, regions=cine.masks)
    spent = time.process_time() - start
    report = judge_cine(cine, found.clean.numpy())
    mean = report.mean
    return {
        "psnr_db": mean["psnr_output_db"],
        "gain_db": mean["psnr_output_db"] - mean["psnr_input_db"],  # type: ignore[operator]
        "gcnr": mean["gcnr_output"],
        "tissue_ks": mean["tissue_ks"],
        "cavity_ks": mean["cavity_ks"],
        "cavity_db": mean["cavity_level_output_db"],
        "tissue_change_db": mean["tissue_change_db"],
        "flicker": report.flicker,
        "dehazed": float(report.dehazed),
        "cpu_s_per_frame": spent / FRAMES,
    }


def rows_of(cines: list[Cine], prior: PicturePrior) -> list[dict[str, Any]]:
    """Means over cines, a row per method; the error of the gain is its standard error over them."""
    rows = []
    for name, (method, changes) in METHODS.items():
        known = name.endswith("true frames")
        found = [measured(cine, method, changes, knowing(prior, cine) if known else prior) for cine in cines]
        mean = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
        gains = [row["gain_db"] for row in found]
        rows.append(
            {"method": name, **mean, "gain_error_db": float(np.std(gains, ddof=1) / len(gains) ** 0.5)}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def study() -> dict[str, Any]:
    """Everything, on one thread."""
    torch.set_num_threads(1)
    config = recipe("demo")
    start = time.process_time()
    pictures = simulated_pictures(config.frames, seed=0, pixel_m=PIXEL_M)
    prior = train_picture_prior(pictures, config, pixel_m=PIXEL_M, seed=0)
    trained = time.process_time() - start
    cines = [mixture(seed) for seed in SEEDS]
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.video --write",
        "settings": {
            "hearts": list(SEEDS),
            "frames": FRAMES,
            "pixel_m": PIXEL_M,
            "haze_level": LEVEL,
            "veil_level": VEIL,
            "prior": "recipe demo, 20 simulated pictures",
            "prior_cpu_s": trained,
            "prior_loss": prior.checkpoint.training["loss"],
            "threads": 1,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "truth": [
            {"gcnr": r.mean["gcnr_reference"], "cavity_db": r.mean["cavity_level_reference_db"]}
            for r in (judge_cine(cine, cine.levels) for cine in cines)
        ],
        "mixture": rows_of(cines, prior),
        "veil": rows_of([veiled(cine) for cine in cines], prior),
        "grey": {
            "mixture": [grey(cine, prior) for cine in cines],
            "veil": [grey(veiled(cine), prior) for cine in cines],
        },
    }
    report["settings"]["cpu_s"] = time.process_time() - start
    return report


def main() -> None:
    """Run the study and print it; `--write` keeps it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    report = study()
    text = json.dumps(report, indent=2) + "\n"
    print(text)
    if write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
