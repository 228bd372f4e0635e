"""Processor time beyond the network per call of it, ours beside widely used samplers (C29).

    python -m tests.benchmarks.overhead                 # prints the table
    python -m tests.benchmarks.overhead --write         # and keeps it in results/overhead.json

Every sampler walks 20 steps from sigma 80 to .002 on one float32 state of 64 elements, one thread. The
"network" returns a tensor that it holds, so what is timed is the sampler alone. A round times every sampler
once, one after the other; the smallest time per call of the network is kept, since other load can only add to
it. Peers (diffusers, k-diffusion, azula) are timed in the same rounds where they are installed.
"""

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.denoise import Posterior
from core.plan import adams, ancestral, ddim, default, dpmpp, heun, karras
from core.process import Karras
from core.run import sample

RESULTS = Path(__file__).parent / "results" / "overhead.json"
STEPS, CALLS = 20, 20
EDM = Karras()
X = torch.zeros(1, 64)
MEAN = torch.zeros(1, 64)
SIGMAS = torch.tensor(karras(EDM, STEPS))


class Held:
    """A denoiser without an operation."""

    process = EDM
    answer = Posterior(mean=MEAN)

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return self.answer


def ours() -> dict[str, Callable[[], Any]]:
    """Our plans by name; a plan is made once, as a user would."""
    grid = karras(EDM, STEPS)
    gen = torch.Generator().manual_seed(0)
    plans = {
        "suffuse default": default(EDM, STEPS, data_std=1.0),
        "suffuse ddim": ddim(EDM, grid),
        "suffuse dpmpp 2M": dpmpp(EDM, grid),
        "suffuse adams order 4": adams(EDM, grid, data_std=1.0, order=4),
        "suffuse heun": heun(EDM, grid),
        "suffuse ancestral": ancestral(EDM, grid),
    }
    model = Held()
    walks = {name: (lambda plan=plan: sample(plan, model, X, gen)) for name, plan in plans.items()}
    for name, walk in walks.items():
        walk.calls = plans[name].evaluations  # type: ignore[attr-defined]
    return walks


def diffusers() -> dict[str, Callable[[], Any]]:
    """Schedulers stepped as their documentation shows: set_timesteps is left out of the timing."""
    lib = importlib.import_module("diffusers")

    def walk(scheduler: Any) -> Callable[[], Any]:
        def run() -> None:
            scheduler.set_timesteps(STEPS)
            x = X
            start = time.process_time()
            with torch.no_grad():
                for t in scheduler.timesteps:
                    x = scheduler.step(MEAN, t, scheduler.scale_model_input(x, t)).prev_sample
            run.spent = time.process_time() - start  # type: ignore[attr-defined]

        return run

    return {
        "diffusers DDIM": walk(lib.DDIMScheduler()),
        "diffusers Euler": walk(lib.EulerDiscreteScheduler()),
        "diffusers DPM++ 2M": walk(lib.DPMSolverMultistepScheduler()),
        "diffusers UniPC": walk(lib.UniPCMultistepScheduler()),
    }


def k_diffusion() -> dict[str, Callable[[], Any]]:
    """Sampling functions over a list of sigmas."""
    lib = importlib.import_module("k_diffusion.sampling")

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        return MEAN

    def walk(fn: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: fn(model, X, SIGMAS, disable=True)

    return {
        "k-diffusion Euler": walk(lib.sample_euler),
        "k-diffusion DPM++ 2M": walk(lib.sample_dpmpp_2m),
        "k-diffusion LMS": walk(lib.sample_lms),
    }


def azula() -> dict[str, Callable[[], Any]]:
    """Samplers under their variance-exploding schedule."""
    samplers, noise = (importlib.import_module(f"azula.{name}") for name in ("sample", "noise"))
    held = importlib.import_module("azula.denoise").DiracPosterior(mean=MEAN)
    schedule = noise.VESchedule(0.002, 80.0)

    class Model:
        def __init__(self) -> None:
            self.schedule = schedule

        def __call__(self, x: Tensor, t: Tensor, **kwargs: Any) -> Any:
            return held

    options = {"steps": STEPS, "silent": True}
    return {
        f"azula {name}": (lambda made=getattr(samplers, f"{name}Sampler")(Model(), **options): made(X))
        for name in ("Euler", "DDIM", "REAB")
    }


PEERS = {"diffusers": diffusers, "k-diffusion": k_diffusion, "azula": azula}


def measure(runs: dict[str, Callable[[], Any]], *, rounds: int = 15) -> dict[str, float]:
    """Microseconds of processor time per call of the network: the smallest of the rounds of 20 runs each."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            spent = 0.0
            for _ in range(CALLS):
                start = time.process_time()
                run()
                spent += getattr(run, "spent", time.process_time() - start)
            best[name] = min(best[name], 1e6 * spent / (CALLS * getattr(run, "calls", STEPS)))
    return best


def compare() -> dict[str, Any]:
    """Every sampler that is installed, its packages, and the ratio that matters."""
    torch.set_num_threads(1)
    runs, versions = ours(), {"torch": torch.__version__, "python": platform.python_version()}
    absent = []
    for name, make in PEERS.items():
        try:
            versions[name] = version(name)
            runs |= make()
        except (PackageNotFoundError, ImportError):
            absent.append(name)
    found = measure(runs)
    mine = {name: us for name, us in found.items() if name.startswith("suffuse")}
    peers = {name: us for name, us in found.items() if name not in mine}
    report: dict[str, Any] = {
        "command": "python -m tests.benchmarks.overhead --write",
        "settings": "20 steps, state (1, 64) float32, one thread, smallest of 15 rounds of 20 runs",
        "versions": versions,
        "microseconds_per_call": {name: round(us, 2) for name, us in found.items()},
        "not_installed": absent,
    }
    if peers:
        best = min(peers, key=peers.__getitem__)
        report["best_peer"] = best
        report["ratio_to_best_peer"] = {name: round(us / peers[best], 3) for name, us in mine.items()}
    return report


def main() -> None:
    options = argparse.ArgumentParser(description="Time samplers beyond the network.")
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
