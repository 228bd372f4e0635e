"""A small U-Net trained on several processes, for test_distributed.py: `torchrun two_processes.py FOLDER`."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.denoise import wrap
from core.nets.unet import UNet
from core.process import Karras
from core.train.checkpoint import Checkpoint
from core.train.config import FitConfig
from core.train.distributed import group, place, spread
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import Denoising, LogUniform
from core.train.samples import Shuffled

CONFIG = FitConfig(steps=20, batch=8, lr=4e-3, warmup=4, clip=0.5, ema=EMA(0.9), every_steps=7)


def train(config: FitConfig = CONFIG, **options: Any) -> Checkpoint:
    """Twenty steps on 40 noisy steps of one line each, 16 points."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1 + place().rank)  # every process must start from the weights of the first
        net = UNet(1, 1, dim=1, widths=(8, 12))
    gen = torch.Generator().manual_seed(2)
    lines = (torch.arange(16) > 16 * torch.rand(40, 1, 1, generator=gen)).float() - 0.5
    denoiser = wrap(net, Karras(0.01, 2.0), predicts="edm", data_std=0.5)
    objective = Denoising(LogUniform(0.05, 2.0), data_std=0.5)
    return fit(objective, denoiser, Shuffled(lines), config, seed=3, **options)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with group("gloo"):
        assert place().world == 2
        train(folder=folder / "ddp", parallel="ddp")
        train(folder=folder / "fsdp", parallel="fsdp")
        train(replace(CONFIG, steps=9), folder=folder / "resumed", parallel="fsdp")
        train(folder=folder / "resumed", parallel="fsdp", resume=True)
        whole = wrap(UNet(1, 1, dim=1, widths=(8, 12)), Karras(), predicts="edm")
        cut = spread(whole, "fsdp")
        own = sum(p.to_local().numel() for p in cut.parameters())  # type: ignore[attr-defined]
        (folder / f"share-{place().rank}.json").write_text(
            json.dumps({"own": own, "all": sum(p.numel() for p in cut.parameters())})
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
