"""Plug-and-play guidance on digits (C13): what adapters for ranges of noise add to classifiers of clean ones.

    python -m tests.benchmarks.experts            # prints the table
    python -m tests.benchmarks.experts --write    # and keeps it in results/experts.json

Two frozen classifiers, each trained on the 1297 clean digits: a convolutional network with batch norms and a
perceptron. The digits model (700 steps, `tests.fixtures.digits`) draws 5000 samples, a random label each,
which the experts never see; three experts of rank 4 per classifier learn from them. Accuracy is that of the
500 test digits, ten noises each; errors are standard errors over digits.

Yardsticks: the frozen classifier at the same scale of its input; as ceiling, a network of the same shape all
of whose weights were trained on noised real digits with their labels; for guidance, sampling without it, and
the Frechet distance of the guided samples on 20 principal axes of real digits (.157 between train and test).
Hits are judged by a third network that saw neither the others nor any noise. About four CPU-minutes.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.denoise import Denoiser
from core.metrics import frechet
from core.plan import ddim, karras
from core.process import Karras
from core.run import sample
from core.state import Source
from core.steer.experts import Expert, Experts, Ranges, generated, train_experts
from core.steer.guidance import classifier, given
from core.steer.minority import Labelled
from core.train import Adapted, Batch, FitConfig, LogUniform, Shuffled, fit
from tests.fixtures.digits import DATA_STD, digits, digits_denoiser, pca

RESULTS = Path(__file__).parent / "results" / "experts.json"
PROCESS = Karras(0.01, 20.0)
RANK, EXPERTS, DRAWN, STEPS = 4, 3, 5000, 500
BUCKETS = ((0.1, 0.25), (0.25, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0))
SCALES = (1.0, 2.0, 4.0)
NOISES = 10


class Perceptron(nn.Module):
    """Pixels (B, 64) -> logits (B, 10)."""

    def __init__(self, width: int = 384) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Convolutional(nn.Module):
    """Pixels (B, 64) -> logits (B, 10): four convolutions with batch norms, then the mean over places."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        sizes = ((1, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, 4 * width, 2))
        blocks = [
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1, stride=s, bias=False), nn.BatchNorm2d(o), nn.ReLU())
            for i, o, s in sizes
        ]
        self.layers = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(-1, 1, 8, 8))


NETS: dict[str, Callable[[], nn.Module]] = {"convolutional": Convolutional, "perceptron": Perceptron}


@dataclass(frozen=True)
class Clean:
    """Cross entropy of the label (the batch's `cond`) at clean digits."""

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        return nn.functional.cross_entropy(denoiser.net(batch.x0), batch.cond, reduction="none")


def taught(build: Callable[[], nn.Module], objective: Any, *, seed: int, steps: int) -> Expert:
    """A network trained on the labelled digits, all weights."""
    data = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expert = Expert(build(), PROCESS, DATA_STD)
    config = FitConfig(
        steps=steps, batch=64, lr=2e-3, optimizer="adamw", weight_decay=0.05, schedule="cosine", ema=None
    )
    fit(objective, expert, Shuffled(data.train, data.train_labels), config, seed=seed)
    return expert.eval().requires_grad_(False)


def right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double()


def buckets(answers: dict[str, Callable[[Tensor, Any], Tensor]]) -> list[dict[str, float]]:
    """Accuracy of each on noised test digits, a row per range of sigma; `gain` is experts less frozen."""
    data, gen, rows = digits(), torch.Generator().manual_seed(5), []
    x0, labels = data.test.repeat(NOISES, 1), data.test_labels.repeat(NOISES)
    for low, high in BUCKETS:
        t = low * (high / low) ** torch.rand(len(x0), generator=gen)
        x = x0 + t[:, None] * torch.randn(x0.shape, generator=gen)
        with torch.no_grad():
            hits = {name: right(f(x, t), labels).reshape(NOISES, -1).mean(0) for name, f in answers.items()}
        gain = hits["experts"] - hits["frozen"]
        rows.append(
            {
                "low": low,
                "high": high,
                **{name: float(hit.mean()) for name, hit in hits.items()},
                "gain": float(gain.mean()),
                "gain_error": float(gain.std()) / len(gain) ** 0.5,
            }
        )
    return rows


def guided(
    model: Denoiser, frozen: Expert, experts: Experts, judge: Callable[[Tensor], Tensor]
) -> list[dict[str, Any]]:
    """Share of samples that are the class asked for, a row per scale; error at most .018 (800 samples)."""
    labels = torch.arange(10).repeat(80)
    mean, axes = pca(digits().train)
    real = (digits().test - mean) @ axes
    plan = ddim(PROCESS, karras(PROCESS, 25))

    def scored(steered: Denoiser) -> dict[str, float]:
        gen = torch.Generator().manual_seed(7)
        x = sample(plan, steered, PROCESS.prior(torch.zeros(len(labels), 64), gen), gen)
        hits = float(right(judge(x), labels).mean())
        return {"hits": hits, "frechet": frechet((x - mean) @ axes, real)}

    plain = Experts(Ranges.even(PROCESS, 1), (frozen,))
    rows: list[dict[str, Any]] = [{"scale": 0.0, "none": scored(model)}]
    for scale in SCALES:
        found = {
            name: scored(classifier(model, f.log_prob(labels), scale))
            for name, f in (("frozen", plain), ("experts", experts))
        }
        rows.append({"scale": scale, **found})
    return rows


def measured(build: Callable[[], nn.Module], model: Denoiser, drawn: Tensor, judge: Expert) -> dict[str, Any]:
    """One frozen classifier, its experts, and their ceiling."""
    start = time.process_time()
    frozen = taught(build, Clean(), seed=0, steps=600)
    begin = time.process_time()
    config = FitConfig(
        steps=STEPS, batch=64, lr=1e-2, optimizer="adamw", weight_decay=0.05, schedule="cosine", ema=None
    )
    experts = train_experts(
        frozen.net,
        PROCESS,
        Shuffled(drawn),
        Ranges.even(PROCESS, EXPERTS, data_std=DATA_STD),
        config,
        seed=0,
        rank=RANK,
        data_std=DATA_STD,
        logarithmic=True,
    )
    spent = time.process_time() - begin
    shares = [m.net.share for m in experts.members if isinstance(m, Expert) and isinstance(m.net, Adapted)]
    ceiling = taught(build, Labelled(LogUniform(0.05, 5.0)), seed=0, steps=2000)
    with torch.no_grad():
        clean = float(right(frozen.net(digits().test), digits().test_labels).mean())
    return {
        "parameters": sum(p.numel() for p in frozen.net.parameters()),
        "clean_accuracy": clean,
        "trained_share_of_one_expert": shares[0],
        "trained_share_of_all": sum(shares),
        "edges": list(experts.ranges.edges),
        "buckets": buckets({"frozen": frozen, "experts": experts, "ceiling": ceiling}),
        "guided": guided(model, frozen, experts, judge.net),
        "frozen_cpu_s": begin - start,
        "experts_cpu_s": spent,
        "cpu_s": time.process_time() - start,
    }


def study() -> dict[str, Any]:
    """Everything, on one thread."""
    torch.set_num_threads(1)
    start = time.process_time()
    model, gen = digits_denoiser(), torch.Generator().manual_seed(0)
    trained = time.process_time() - start
    plan = ddim(PROCESS, karras(PROCESS, 25))
    labels = torch.randint(10, (DRAWN,), generator=gen)
    with torch.no_grad():
        drawn = generated(given(model, labels), plan, torch.zeros(64), DRAWN, gen, batch=DRAWN)
    judge = taught(lambda: Perceptron(128), Clean(), seed=1, steps=600)
    return {
        "command": "python -m tests.benchmarks.experts --write",
        "settings": {
            "experts": EXPERTS,
            "rank": RANK,
            "generated": DRAWN,
            "plan": "ddim, 25 steps",
            "steps_each": STEPS,
            "batch": 64,
            "model_cpu_s": trained,
            "judge_clean_accuracy": float(right(judge.net(digits().test), digits().test_labels).mean()),
            "threads": 1,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "nets": {name: measured(build, model, drawn, judge) for name, build in NETS.items()},
    }


def main() -> None:
    """Run the study and print it; `--write` keeps it."""
    options = argparse.ArgumentParser(description="Measure experts of noise on digits.")
    options.add_argument("--write", action="store_true", help=f"keep the result in {RESULTS.name}")
    write = options.parse_args().write
    text = json.dumps(study(), indent=2) + "\n"
    print(text, end="")
    if write:
        RESULTS.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
