"""Processor time of TSDiff's paper preset on the exchange shape, beside the published code where it is at
hand.

    python -m tests.benchmarks.timeseries_cost                         # prints the table
    python -m tests.benchmarks.timeseries_cost --reference FOLDER      # times a checkout of the published
    code too python -m tests.benchmarks.timeseries_cost --write                 # and keeps it in
    results/timeseries_cost.json

Windows of 390 points and 13 channels, 64 of them in a training step and 100 samples of one series in a
forecast, one thread. A training step is the core's loop, optimiser and noise included; a forecast is the
domain's own. Ours and the reference's steps are timed in turn, and the smallest of the rounds is kept, since
other load can only add to it.

The published code is github.com/amazon-science/unconditional-time-series-diffusion at commit 3eafeff; its
network is imported from the folder with its compiled kernels off, as they are on a CPU. Without it the ratio
is taken to the 1.36 s a step and 130 s a forecast that were measured once on a quiet core.
"""

import argparse
import importlib
import json
import platform
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from core.denoise import wrap
from core.process import LinearBetas
from core.train.config import FitConfig
from core.train.loop import fit
from core.train.samples import Shuffled
from domains.timeseries.config import SampleConfig
from domains.timeseries.data import Series
from domains.timeseries.forecasting import forecast
from domains.timeseries.networks import Backbone
from domains.timeseries.tsdiff import SeriesModel, WindowLoss
from domains.timeseries.windows import Shape

RESULTS = Path(__file__).parent / "results" / "timeseries_cost.json"
EXCHANGE = Shape(360, 30, lags=tuple(range(30, 361, 30)))
BATCH, SAMPLES = 64, 100
KNOWN = {"training_step": 1.36, "guided_step": 1.30, "forecast": 130.0}
DDPM = LinearBetas(100, 1e-4, 0.1)

Timed = Callable[[], float]


def spent(run: Callable[[], Any]) -> float:
    """Seconds of processor time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def network() -> Backbone:
    torch.manual_seed(0)
    return Backbone(EXCHANGE.channels, init_skip=True)


def own_training() -> Timed:
    """One step of the core's loop, in the middle of a run of three."""
    denoiser = wrap(network(), DDPM, predicts="eps")
    gen = torch.Generator().manual_seed(0)
    data = Shuffled(torch.randn(4 * BATCH, EXCHANGE.channels, EXCHANGE.length, generator=gen))
    config = FitConfig(steps=3, batch=BATCH, lr=1e-3, clip=0.5, ema=None, every_steps=None)

    def run() -> float:
        marks: list[float] = []
        fit(
            WindowLoss(),
            denoiser,
            data,
            config,
            seed=0,
            progress=lambda stage, done, total, metric=None: marks.append(time.process_time()),
        )
        return marks[1] - marks[0]

    return run


def own_model() -> tuple[SeriesModel, Series]:
    denoiser = wrap(network(), DDPM, predicts="eps").eval().requires_grad_(False)
    model = SeriesModel(denoiser, EXCHANGE, "tsdiff", "B", 5, SampleConfig(), None)  # type: ignore[arg-type]
    values = 1 + 0.1 * np.cumsum(np.random.default_rng(0).standard_normal(800)) / 30
    return model, Series("rate", pd.Period("2000-01-03", freq="B"), values)


def own_forecast(sampling: SampleConfig) -> Timed:
    """A whole forecast of one series, S samples."""
    model, series = own_model()
    return lambda: spent(lambda: forecast(model, [series], sampling))


def own_guided() -> Timed:
    """One guided step of S samples: a forward pass and its gradient."""
    model, _ = own_model()
    x = torch.randn(SAMPLES, EXCHANGE.channels, EXCHANGE.length)

    def step() -> None:
        at = x.clone().requires_grad_()
        model.denoiser(at, 50.0).mean.square().sum().backward()

    return lambda: spent(step)


def reference_network(folder: Path) -> Any:
    """The published backbone from a checkout of its repository."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["pytorch_lightning.utilities"].rank_zero_only = lambda fn: fn  # type: ignore[attr-defined]
    package = types.ModuleType("published_arch")
    package.__path__ = [str(folder / "src" / "uncond_ts_diff" / "arch")]
    sys.modules["published_arch"] = package
    backbones = importlib.import_module("published_arch.backbones")
    torch.manual_seed(0)
    return backbones.BackboneModel(
        input_dim=EXCHANGE.channels,
        hidden_dim=64,
        output_dim=EXCHANGE.channels,
        step_emb=128,
        num_residual_blocks=3,
        num_features=7,
        init_skip=True,
    )


def reference_runs(folder: Path) -> dict[str, Timed]:
    """The same three measurements of the published network and loop."""
    net = reference_network(folder)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = torch.randn(BATCH, EXCHANGE.length, EXCHANGE.channels)
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.1, 100), 0)

    def training() -> None:
        t, eps = torch.randint(0, 100, (BATCH,)), torch.randn_like(x)
        a = abar[t][:, None, None]
        loss = torch.nn.functional.mse_loss(net(a.sqrt() * x + (1 - a).sqrt() * eps, t), eps)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()

    rows = torch.randn(SAMPLES, EXCHANGE.length, EXCHANGE.channels)
    t = torch.full((SAMPLES,), 50)

    def guided() -> None:
        """A step as published: an unguided forward pass, then another one with its gradient."""
        with torch.no_grad():
            net(rows, t)
        at = rows.clone().requires_grad_()
        torch.autograd.grad(net(at, t).square().sum(), at)

    return {"training_step": lambda: spent(training), "guided_step": lambda: spent(guided)}


def measure(runs: dict[str, Timed], *, rounds: int) -> dict[str, float]:
    """The smallest of the rounds, in which every run has its turn; one round is thrown away."""
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = min(best[name], run())
    return best


def compare(reference: Path | None) -> dict[str, Any]:
    """All figures, and the ratios that are asked for."""
    torch.set_num_threads(1)
    runs = {"ours training_step": own_training(), "ours guided_step": own_guided()}
    if reference is not None:
        runs |= {f"reference {name}": run for name, run in reference_runs(reference).items()}
    found = measure(runs, rounds=5)
    plans = {
        "ddpm 100 steps, paper placement": SampleConfig(sampler="ddpm", scale=8, num_samples=SAMPLES),
        "ddim 25 steps": SampleConfig(sampler="ddim", num_steps=25, scale=8, num_samples=SAMPLES),
        "default plan 25 steps": SampleConfig(sampler="default", num_steps=25, scale=8, num_samples=SAMPLES),
    }
    forecasts = {name: own_forecast(sampling)() for name, sampling in plans.items()}
    step = found.get("reference training_step", KNOWN["training_step"])
    whole = 100 * found.get("reference guided_step", KNOWN["guided_step"])
    return {
        "command": "python -m tests.benchmarks.timeseries_cost --write"
        + (" --reference FOLDER" if reference is not None else ""),
        "settings": "390 points, 13 channels, H 64, 3 blocks; 64 windows a step, 100 samples a forecast; one "
        "thread, smallest of 5 rounds",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "reference": "commit 3eafeff, timed in the same rounds"
        if reference is not None
        else "measured before",
        "cpu_seconds": {name: round(value, 4) for name, value in found.items()},
        "forecast_cpu_seconds": {name: round(value, 2) for name, value in forecasts.items()},
        "reference_forecast_cpu_seconds": round(whole, 1),
        "training_ratio": round(found["ours training_step"] / step, 3),
        "forecast_ratio": {name: round(value / whole, 3) for name, value in forecasts.items()},
    }


def main() -> None:
    options = argparse.ArgumentParser(description="Time TSDiff's training step and forecast.")
    options.add_argument("--reference", type=Path, help="a checkout of the published code")
    options.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments = options.parse_args()
    report = compare(arguments.reference)
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
