"""Forecasts on several processes, for test_forecasting.py: `torchrun two_processes.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import torch

from core.train.distributed import group, place
from domains.timeseries.config import SampleConfig
from domains.timeseries.forecasting import forecast
from tests.domains.timeseries.exact import sines, untrained

SAMPLING = SampleConfig(sampler="ddim", num_steps=4, num_samples=3, scale=1.0, guidance="mse")


def samples() -> np.ndarray:
    """Samples of five series, (5, 3, P)."""
    found = forecast(untrained(), list(sines(5, 60).series), SAMPLING, seed=7)
    return np.stack([item.samples for item in found.forecasts])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with group("gloo"):
        assert place().world == 2
        np.save(folder / f"rank-{place().rank}.npy", samples())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
