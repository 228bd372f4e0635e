"""AND NOT, and RED-diff, on the world of shapes (F6): pictures whose attributes an oracle reads off.

    python -m tests.benchmarks.shapes            # prints the tables
    python -m tests.benchmarks.shapes --write    # and keeps them in results/shapes.json

One small U-Net learns 8192 pictures of 32 x 32 with their two labels, shape and colour, each left out of half
of the samples, so that the same network is the model of both labels, of either, and of none. It works on
blocks of 2 x 2 pixels as channels and predicts the clean picture; labels join the noise level in every block.

AND NOT: "red" with "circle" as what is not wanted, by `core.steer.compose.without`, at several weights.
Yardsticks: "red" alone, of which two thirds are no circles in the data. A rate is that of the oracle among
240 pictures; `whole` is the share of pictures that the oracle explains to within `WHOLE`. All runs start from
one noise. The plan draws noise: a deterministic one keeps what the first steps decide, when every shape still
looks round, and gives mostly circles.

Inpainting: 32 new pictures, half of the pixels unseen at random, or the right half of the picture; PSNR in dB
over all pixels, and the oracle's rate of right shapes and colours. Yardsticks: the mean of the pixels seen,
per channel of each picture, in place of those unseen; and DDRM with the same network. About six CPU-minutes.
"""

import argparse
import json
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.denoise import Denoiser, Wrapped, wrap
from core.inverse import DDRM, Inpainting, RedDiff, solve
from core.nets.unet import UNet
from core.plan import ddim, log
from core.process import Karras
from core.run import sample
from core.state import Source, uniform
from core.steer.compose import without
from core.steer.guidance import given
from core.train import EMA, Batch, Denoising, FitConfig, LogNormal, Shuffled, denoiser_of, fit
from data.synthetic.shapes import COLOURS, SHAPES, Reading, Shapes

RESULTS = Path(__file__).parent / "results" / "shapes.json"
WORLD = Shapes()
PROCESS = Karras(0.01, 20.0)
DATA_STD = 0.23  # of pictures in [-1, 1]
TRAIN, STEPS, BATCH, LEFT_OUT = 8192, 1400, 32, 0.5
WIDTHS = (32, 48, 64)
NONE = torch.tensor([len(SHAPES), len(COLOURS)])  # the labels that say nothing
RED, CIRCLE = COLOURS.index("red"), SHAPES.index("circle")
DRAWN = 240
PLAN = ddim(PROCESS, log(PROCESS, 40, low=0.1), eta=1.0)
WEIGHTS = (0.5, 1.0, 2.0)
WHOLE = 0.05  # root mean square, unit of [0, 1]
HIDDEN = 32
HOLES = (("half at random", 0.0), ("half at random", 0.05), ("right half", 0.0))
SOLVERS = {"reddiff": RedDiff(), "ddrm": DDRM()}
NFE = 100


class LevelAndLabels(nn.Module):
    """Noise level, shape and colour, columns of (B, 3) -> (B, width): what every block is told."""

    def __init__(self, level: nn.Module, width: int) -> None:
        super().__init__()
        self.level = level
        self.shape = nn.Embedding(len(SHAPES) + 1, width)
        self.colour = nn.Embedding(len(COLOURS) + 1, width)

    def forward(self, told: Tensor) -> Tensor:
        shape, colour = told[:, 1:].long().T
        return self.level(told[:, 0]) + self.shape(shape) + self.colour(colour)


class Conditional(nn.Module):
    """net(x (B, 3, H, W), sigma (B,), labels (B, 2) or None) -> clean pictures (B, 3, H, W); H and W even."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"widths": list(WIDTHS)}
        self.net = UNet(12, 12, widths=WIDTHS)
        self.net.noise = LevelAndLabels(self.net.noise, 4 * WIDTHS[0])

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor | None = None) -> Tensor:
        labels = (NONE[None] if cond is None else cond).expand(len(x), 2)
        told = torch.cat([sigma.log()[:, None] / 4, labels.to(x.dtype)], 1)
        scale = (sigma**2 + DATA_STD**2).rsqrt()[:, None, None, None]
        return F.pixel_shuffle(self.net(F.pixel_unshuffle(scale * x, 2), told), 2)


@dataclass(frozen=True)
class LabelsLeftOut:
    """Denoising in which each label says nothing in a share of the samples, independently."""

    share: float = LEFT_OUT
    denoising: Denoising = field(default_factory=lambda: Denoising(LogNormal(-0.3, 1.0), "data"))

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        u = uniform((len(batch.x0), 2), gen, dtype=torch.float32, device="cpu")
        return self.denoising(
            denoiser, batch._replace(cond=torch.where(u < self.share, NONE, batch.cond)), gen
        )


def untrained() -> Wrapped:
    """A new network, the same at every call; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return wrap(Conditional(), PROCESS, predicts="x0", data_std=DATA_STD)


def trained(steps: int = STEPS) -> Wrapped:
    """The denoiser: `denoiser(x, t, labels)`, where an entry of NONE leaves that label open."""
    scene = WORLD.draw(TRAIN, np.random.default_rng(0))
    labels = torch.from_numpy(np.stack([scene.attributes.shape, scene.attributes.colour], 1))
    data = Shuffled(torch.from_numpy(scene.pictures) * 2 - 1, labels)
    config = FitConfig(
        steps=steps, batch=BATCH, lr=2e-3, optimizer="adamw", schedule="cosine", warmup=50, ema=EMA(0.99)
    )
    return denoiser_of(fit(LabelsLeftOut(), untrained(), data, config, seed=0), untrained().net)


def told(denoiser: Denoiser, *, shape: int | None = None, colour: int | None = None) -> Denoiser:
    """The model of one label, of both or of none."""
    labels = [NONE[0] if shape is None else shape, NONE[1] if colour is None else colour]
    return given(denoiser, torch.tensor([[int(label) for label in labels]]))


def read(x: Tensor) -> Reading:
    """The oracle, on pictures in [-1, 1]."""
    return WORLD.read(((x + 1) / 2).numpy())


def rate(hits: Any) -> dict[str, float]:
    """A share and its standard error."""
    share = float(np.mean(hits))
    return {"rate": share, "error": (share * (1 - share) / len(hits)) ** 0.5}


def rates(denoiser: Denoiser) -> dict[str, Any]:
    """What the oracle finds in DRAWN samples."""
    gen, begin = torch.Generator().manual_seed(11), time.process_time()
    start = PROCESS.prior(torch.zeros(DRAWN, 3, WORLD.size, WORLD.size), gen)
    x = sample(PLAN, denoiser, start, gen)
    spent, (found, misfit) = time.process_time() - begin, read(x)
    red, other = found.colour == RED, found.shape != CIRCLE
    return {
        "red_not_circle": rate(red & other),
        "red": rate(red),
        "not_circle": rate(other),
        "whole": rate(misfit < WHOLE),
        "cpu_s": spent,
    }


def composed(denoiser: Denoiser) -> dict[str, Any]:
    """Rates of red, and of red AND NOT circle at every weight."""
    red, circle, base = told(denoiser, colour=RED), told(denoiser, shape=CIRCLE), told(denoiser)
    plain = rates(red)
    return {
        "nothing": rates(base),
        "red": plain,
        "circle": rates(circle),
        "red AND NOT circle": [
            {"weight": weight, **rates(without(red, circle, weight, base=base))} for weight in WEIGHTS
        ],
    }


def psnr(found: Tensor, truth: Tensor) -> float:
    """Peak signal to noise of pictures in [0, 1], dB, over the whole batch."""
    return -10 * float((found - truth).square().mean().log10())


def inpainted(denoiser: Denoiser) -> list[dict[str, Any]]:
    """PSNR of every solver, a row per mask and noise."""
    scene = WORLD.draw(HIDDEN, np.random.default_rng(1))
    x, size = torch.from_numpy(scene.pictures), WORLD.size
    gen = torch.Generator().manual_seed(1)
    masks = {
        "half at random": (torch.rand(1, size, size, generator=gen) < 0.5).expand(3, -1, -1),
        "right half": (torch.arange(size) < size // 2).expand(3, size, -1),
    }
    white = torch.randn(x.shape, generator=gen)

    def scored(picture: Tensor, seconds: float = 0.0) -> dict[str, float]:
        found = WORLD.read(picture.numpy()).attributes
        return {
            "psnr_db": psnr(picture, x),
            "shape": float((found.shape == scene.attributes.shape).mean()),
            "colour": float((found.colour == scene.attributes.colour).mean()),
            "cpu_s": seconds,
        }

    rows = []
    for name, noise in HOLES:
        operator, mask = Inpainting(masks[name]), masks[name]
        y = operator.seen(x + noise * white)
        mean = y.sum((2, 3)) / mask[0].sum()
        row: dict[str, Any] = {"mask": name, "noise": noise}
        row["mean fill"] = scored(torch.where(mask, y, mean[:, :, None, None]))
        for label, method in SOLVERS.items():
            solved = solve(
                told(denoiser),
                operator,
                y,
                noise,
                method=method,
                nfe=NFE,
                gen=torch.Generator().manual_seed(2),
                data_range=(0.0, 1.0),
                data_std=DATA_STD,
            )
            row[label] = scored(solved.x, solved.seconds)
        rows.append(row)
    return rows


def study(denoiser: Wrapped | None = None) -> dict[str, Any]:
    """Everything, on one thread; trains unless a denoiser is given."""
    torch.set_num_threads(1)
    begin = time.process_time()
    denoiser = trained() if denoiser is None else denoiser
    spent = time.process_time() - begin
    return {
        "command": "python -m tests.benchmarks.shapes --write",
        "settings": {
            "pictures": TRAIN,
            "steps": STEPS,
            "batch": BATCH,
            "left_out": LEFT_OUT,
            "widths": list(WIDTHS),
            "parameters": sum(p.numel() for p in denoiser.net.parameters()),
            "train_cpu_s": spent,
            "drawn": DRAWN,
            "plan": f"ddim, eta 1, {len(PLAN.rows)} calls of each model, log grid from .1",
            "whole_below": WHOLE,
            "hidden": HIDDEN,
            "nfe": NFE,
            "threads": 1,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "composition": composed(denoiser),
        "inpainting": inpainted(denoiser),
    }


def main() -> None:
    """Run the study and print it; `--write` keeps it."""
    options = argparse.ArgumentParser(
        description="Measure composition and inpainting on the world of shapes."
    )
    options.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    write = options.parse_args().write
    text = json.dumps(study(), indent=2) + "\n"
    print(text, end="")
    if write:
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
