"""Inverse-problem solvers on the Gaussian field G64, ours beside those of deepinv (U15).

    python -m tests.benchmarks.inverse                 # prints the table
    python -m tests.benchmarks.inverse --write         # and keeps it in results/inverse.json

Four images of 64 x 64, half of the pixels measured with noise .05 (units of [0, 1]), the exact Wiener filter
as the denoiser, the exact posterior mean by conjugate gradients. Both sides get the same measurements and the
same denoiser; deepinv's solvers run with their defaults at the stated number of steps, where it is installed.
Three seeds; PSNR and distances are means over them, processor seconds the smallest. `calls` are calls of the
network in one run, counted inside the denoiser on both sides; a mean of 8 runs a batch 8 times as large.

Read `kind` beside PSNR: an exact posterior sample lies 3 dB below the posterior mean.
"""

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from core.denoise import Posterior
from core.inverse import (
    DAPS,
    DDRM,
    DPS,
    ILVR,
    MCG,
    RED,
    DiffPIR,
    Inpainting,
    PiGDM,
    RedDiff,
    solve,
)
from tests.fixtures.field import NOISE, Field, psnr, random_mask, rms

RESULTS = Path(__file__).parent / "results" / "inverse.json"
SEEDS = (0, 1, 2)


class Problem:
    """Prior, operator, images, measurements and exact posterior mean."""

    def __init__(self) -> None:
        gen = torch.Generator().manual_seed(0)
        self.field = Field()
        self.x = self.field.draw(4, gen)
        self.operator = Inpainting(random_mask(gen))
        noisy = self.x + NOISE * torch.randn(self.x.shape, generator=gen)
        self.y = self.operator.seen(noisy)
        self.exact = self.field.posterior_mean(self.operator, self.y).float()


Run = Callable[[int], tuple[Tensor, int]]  # seed -> images, network calls


class Counting(Field):
    """The prior, with a list of its calls."""

    calls: ClassVar[list[float]] = []

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        self.calls.append(float(torch.as_tensor(t).flatten()[0]))
        return super().__call__(x, t, cond)


def ours(problem: Problem) -> dict[str, tuple[str, Run]]:
    """Our solvers by name, with the kind of their result."""
    prior = Counting()

    def entry(method: Any, nfe: int, samples: int = 1) -> tuple[str, Run]:
        def run(seed: int) -> tuple[Tensor, int]:
            prior.calls.clear()
            solved = solve(
                prior,
                problem.operator,
                problem.y,
                NOISE,
                method=method,
                nfe=nfe,
                gen=torch.Generator().manual_seed(seed),
                samples=samples,
                data_range=(0.0, 1.0),
            )
            return solved.x, len(prior.calls)

        return ("mean" if samples > 1 else method.kind), run

    return {
        "ddrm 100": entry(DDRM(), 100),
        "ddrm 100, noise 1/sqrt 2": entry(DDRM(temperature=0.5**0.5), 100),
        "ddrm 100, mean of 8": entry(DDRM(), 100, 8),
        "pigdm 100": entry(PiGDM(), 100),
        "pigdm 100, published": entry(PiGDM(data_std=1.0, reach=float("inf")), 100),
        "pigdm 100, mean of 8": entry(PiGDM(), 100, 8),
        "dps 100": entry(DPS(), 100),
        "diffpir 100": entry(DiffPIR(), 100),
        "daps 100": entry(DAPS(), 100),
        "daps 100, mean of 8": entry(DAPS(), 100, 8),
        "mcg 100": entry(MCG(), 100),
        "ilvr 100": entry(ILVR(), 100),
        "red 100": entry(RED(), 100),
        "red 100, level .05": entry(RED(level=0.05), 100),
        "reddiff 30": entry(RedDiff(lr=0.2), 30),
        "reddiff 100": entry(RedDiff(), 100),
        "reddiff 300": entry(RedDiff(), 300),
        "reddiff 1000, lr .02": entry(RedDiff(lr=0.02), 1000),
    }


class Network(nn.Module):
    """The Wiener filter as deepinv calls it: images in [0, 1], noise in the same unit; counts its calls."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        self.calls = 0

    def forward(self, x: Tensor, sigma: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        level = float(torch.as_tensor(sigma).flatten()[0])
        return (self.field(2 * x - 1, 2 * level).mean + 1) / 2


def deepinv(problem: Problem) -> dict[str, tuple[str, Run]]:
    """deepinv's samplers with their defaults, at 100 steps unless said otherwise."""
    lib = importlib.import_module("deepinv")
    terms = importlib.import_module("deepinv.sampling.noisy_datafidelity")
    network = Network(problem.field)
    physics = lib.physics.Inpainting(
        img_size=(1, 64, 64),
        mask=problem.operator.mask.float(),
        noise_model=lib.physics.GaussianNoise(NOISE),
    )
    shape = tuple(problem.x.shape)

    def entry(make: Callable[[torch.Generator], Any], **call: Any) -> tuple[str, Run]:
        def run(seed: int) -> tuple[Tensor, int]:
            torch.manual_seed(seed)  # DDRM and DiffPIR draw from the global state
            network.calls = 0
            with torch.no_grad():
                found = make(torch.Generator().manual_seed(seed))(problem.y, physics, **call)
            return found.detach().float(), network.calls

        return "sample", run

    def posterior(term: Any, steps: int) -> Callable[[torch.Generator], Any]:
        return lambda gen: lib.sampling.PosteriorDiffusion(
            data_fidelity=term(denoiser=network),
            denoiser=network,
            sde=lib.sampling.VariancePreservingDiffusion(alpha=1.0),
            solver=lib.sampling.AncestralSolver(timesteps=torch.linspace(1, 0, steps + 1), rng=gen),
        )

    return {
        "deepinv ddrm 100": entry(lambda gen: lib.sampling.DDRM(network)),
        "deepinv diffpir 100": entry(
            lambda gen: lib.sampling.DiffPIR(network, lib.optim.data_fidelity.L2(), sigma=NOISE)
        ),
        "deepinv dps 100": entry(lambda gen: lib.sampling.DPS(network, num_steps=101, rng=gen), x_init=shape),
        "deepinv dps 1000": entry(
            lambda gen: lib.sampling.DPS(network, num_steps=1001, rng=gen), x_init=shape
        ),
        "deepinv pigdm 100": entry(posterior(terms.PiGDMDataFidelity, 100), x_init=shape),
        "deepinv moment matching 100": entry(posterior(terms.MomentMatchingDataFidelity, 100), x_init=shape),
        "deepinv ilvr 100": entry(posterior(terms.ILVRDataFidelity, 100), x_init=shape),
    }


# What each of deepinv's solvers is to be compared with.
COUNTERPARTS = {
    "deepinv ddrm 100": "ddrm 100, noise 1/sqrt 2",
    "deepinv diffpir 100": "diffpir 100",
    "deepinv dps 100": "dps 100",
    "deepinv dps 1000": "dps 100",
    "deepinv pigdm 100": "pigdm 100",
    "deepinv ilvr 100": "ilvr 100",
}


def measure(problem: Problem, kind: str, run: Run) -> dict[str, Any]:
    """Means over the seeds, and the smallest processor time."""
    run(SEEDS[0])
    rows = []
    for seed in SEEDS:
        begin = time.process_time()
        found, calls = run(seed)
        spent = time.process_time() - begin
        rows.append((psnr(found, problem.x), rms(found, problem.exact), spent, calls))
    gain, gap, spent, calls = zip(*rows, strict=True)
    return {
        "kind": kind,
        "psnr_db": round(sum(gain) / len(gain), 2),
        "rms_to_exact_mean": round(sum(gap) / len(gap), 4),
        "cpu_s": round(min(spent), 3),
        "calls": calls[0],
    }


def compare() -> dict[str, Any]:
    """Every solver, the yardsticks, and the packages."""
    torch.set_num_threads(1)
    problem = Problem()
    fill = torch.where(problem.operator.mask, problem.y, torch.tensor(0.5))
    runs = ours(problem)
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    absent = []
    try:
        versions["deepinv"] = version("deepinv")
        runs |= deepinv(problem)
    except (PackageNotFoundError, ImportError):
        absent.append("deepinv")
    return {
        "command": "python -m tests.benchmarks.inverse --write",
        "settings": "G64, 4 images, 50 % inpainting, noise .05, float32, one thread, seeds 0 to 2",
        "versions": versions,
        "yardsticks": {
            "exact posterior mean": round(psnr(problem.exact, problem.x), 2),
            "mean fill": round(psnr(fill, problem.x), 2),
        },
        "solvers": {name: measure(problem, kind, run) for name, (kind, run) in runs.items()},
        "counterparts": COUNTERPARTS,
        "not_installed": absent,
    }


def main() -> None:
    options = argparse.ArgumentParser(description="Measure inverse-problem solvers on an exact fixture.")
    options.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    arguments = options.parse_args()
    report = compare()
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    if arguments.write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
