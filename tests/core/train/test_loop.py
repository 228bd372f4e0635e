"""The training loop: what a step computes, what it reports, and when it stops."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.denoise import wrap
from core.errors import ConfigError, NumericalError
from core.process import Karras, from_record
from core.train.config import FitConfig, rate
from core.train.ema import EMA
from core.train.loop import fit
from core.train.objective import Denoising, LogUniform
from core.train.samples import Batch, Drawn, Shuffled
from tests.core.train.tiny_run import CONFIG, Perceptron, train


class Point(nn.Module):
    """A denoiser that answers with its one weight, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.process = Karras()
        self.at = nn.Parameter(torch.zeros(3, dtype=torch.float64))


def distance(denoiser: Any, batch: Batch, gen: Any) -> Tensor:
    return (denoiser.at - batch.x0).square().sum(1) / 2


def zeros(count: int) -> Shuffled:
    return Shuffled(torch.zeros(count, 3, dtype=torch.float64))


def adam(targets: Tensor, rates: list[float], clip: float) -> Tensor:
    """Adam on |at - mean target|^2 / 2, written out."""
    at, m, v = torch.zeros(3).double(), torch.zeros(3).double(), torch.zeros(3).double()
    for n, lr in enumerate(rates, 1):
        g = at - targets.mean(0)
        g = g * min(1.0, clip / (g.norm().item() + 1e-6))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        at = at - lr * (m / (1 - 0.9**n)) / ((v / (1 - 0.999**n)).sqrt() + 1e-8)
    return at


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_the_weights_are_those_of_adam_written_out(micro_batches: int) -> None:
    targets = torch.tensor([[1.0, 2, 3], [4, 5, 6], [0, 0, 1], [3, 1, 2]], dtype=torch.float64)
    config = FitConfig(
        steps=12,
        batch=4,
        lr=0.1,
        schedule="cosine",
        warmup=3,
        clip=0.7,
        ema=None,
        micro_batches=micro_batches,
    )
    got = fit(distance, Point(), Shuffled(targets), config, seed=0).weights["at"]
    rates = [0.1 / 3, 0.2 / 3, 0.1, *[0.05 * (1 + math.cos(math.pi * k / 9)) for k in range(9)]]
    torch.testing.assert_close(got, adam(targets, rates, 0.7), rtol=1e-9, atol=0)


def test_the_average_is_that_of_the_weights() -> None:
    targets = torch.ones(2, 3, dtype=torch.float64)
    runs = [
        fit(
            distance, Point(), Shuffled(targets), FitConfig(steps=n, batch=2, lr=0.1, ema=None), seed=0
        ).weights["at"]
        for n in (1, 2, 3)
    ]
    got = fit(distance, Point(), Shuffled(targets), FitConfig(steps=3, batch=2, lr=0.1, ema=EMA(0.2)), seed=0)
    # beta = 2/11, 3/12 and then the cap of 0.2, below both ramps from step 2 on.
    exact = torch.zeros(3).double()
    for beta, at in zip((2 / 11, 0.2, 0.2), runs, strict=True):
        exact = beta * exact + (1 - beta) * at
    torch.testing.assert_close(got.weights["at"], exact)


def test_an_exponential_rate_falls_by_one_factor_a_step() -> None:
    config = FitConfig(steps=10, batch=1, lr=0.1, schedule="exponential", decay=0.5, warmup=2)
    assert [rate(config, step) for step in range(4)] == pytest.approx([0.05, 0.1, 0.1 * 0.5**2, 0.1 * 0.5**3])
    with pytest.raises(ConfigError, match=r"decay must lie in \(0, 1\]"):
        FitConfig(steps=1, batch=1, decay=1.5)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    config = FitConfig(steps=100, batch=1, lr=2.0, schedule="cosine", warmup=10)
    assert [rate(config, k) for k in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate(config, 55) == pytest.approx(1.0)
    assert rate(config, 99) == pytest.approx(1 + math.cos(math.pi * 89 / 90))
    assert rate(replace(config, schedule="constant"), 99) == 2.0


def test_training_beats_the_untrained_network() -> None:
    # Lines with one step: neighbours agree, which the untrained denoiser (loss 1 by its weight) cannot use.
    config = FitConfig(steps=150, batch=16, lr=1e-2, schedule="cosine", ema=EMA(0.95))

    def line(gen: torch.Generator) -> Tensor:
        return torch.where(torch.rand((), generator=gen) < 0.5, 1.0, -1.0).expand(4)

    denoiser = wrap(Perceptron(0.0), Karras(0.01, 2.0), predicts="edm", data_std=1.0)
    objective = Denoising(LogUniform(0.3, 3.0), data_std=1.0)
    before = objective(denoiser, Drawn(line)(range(2000), 9), torch.Generator().manual_seed(1)).mean().item()
    checkpoint = fit(objective, denoiser, Drawn(line), config, seed=0)
    after = objective(denoiser, Drawn(line)(range(2000), 9), torch.Generator().manual_seed(1)).mean().item()
    assert after < 0.8 * before
    assert checkpoint.training["loss"] < 0.8 * before


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_what_to_know(tmp_path: Path) -> None:
    def cracks(denoiser: Any, batch: Batch, gen: Any) -> Tensor:
        return distance(denoiser, batch, gen) * (math.nan if denoiser.at[0] < -0.65 else 1.0)

    config = FitConfig(steps=20, batch=2, lr=0.1, every_steps=3, ema=None)
    data = Shuffled(torch.full((2, 3), -5.0, dtype=torch.float64))
    with pytest.raises(NumericalError, match=r"nan .* at step 8 \(learning rate 0.1\); .* that of step 6"):
        fit(cracks, Point(), data, config, seed=0, folder=tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").open()] == list(range(1, 8))
    # Mended, it goes on from there.
    assert fit(distance, Point(), data, config, seed=0, folder=tmp_path, resume=True).training["steps"] == 20


def test_a_gradient_that_is_not_finite_stops_the_run_too() -> None:
    def cliff(denoiser: Any, batch: Batch, gen: Any) -> Tensor:
        return (denoiser.at.abs().sqrt() * 0 + batch.x0).sum(1)

    with pytest.raises(NumericalError, match=r"norm nan at step 1 .* snapshot is none"):
        fit(cliff, Point(), zeros(2), FitConfig(steps=2, batch=2), seed=0)


def test_the_log_and_the_listener_hear_every_step(tmp_path: Path) -> None:
    heard: list[tuple] = []
    train(
        replace(CONFIG, log_every=6), folder=tmp_path, stage="train haze", progress=lambda *a: heard.append(a)
    )
    assert [entry[:3] for entry in heard] == [("train haze", n, 20) for n in range(1, 21)]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert [line["step"] for line in lines] == [6, 12, 18, 20]
    assert lines[0]["lr"] == pytest.approx(rate(CONFIG, 5))
    assert heard[-1][3].startswith("loss ")


def test_the_checkpoint_says_how_it_came_about(tmp_path: Path) -> None:
    card = {"role": "haze", "preset": "tiny", "v0": 0.4, "training": {"frames": 20}}
    checkpoint = train(folder=tmp_path, card=card)
    assert (checkpoint.role, checkpoint.preset, checkpoint.v0) == ("haze", "tiny", 0.4)
    assert (checkpoint.predicts, checkpoint.data_std) == ("edm", 1.0)
    assert from_record(checkpoint.process) == Karras(0.01, 2.0)
    assert checkpoint.net == {"dropout": 0.1}
    assert checkpoint.training["frames"] == 20
    assert checkpoint.training["ema"] == {"kind": "PowerEMA", "std": 0.1}
    assert checkpoint.training["parameters"] == 5 * 16 + 16 + 16 * 4 + 4


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    train()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_global_generator_does_not_matter() -> None:
    torch.manual_seed(11)
    one = train()
    torch.manual_seed(12)
    two = train()
    assert all(torch.equal(value, two.weights[name]) for name, value in one.weights.items())


def test_another_seed_trains_other_weights() -> None:
    assert not torch.equal(train(seed=1).weights["layers.0.weight"], train(seed=2).weights["layers.0.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"warmup": 11}, r"warmup must lie in \[0, 10\] steps, got 11"),
        ({"micro_batches": 3}, "batch of 4 does not divide into 3"),
        ({"optimizer": "adamx"}, "unknown optimizer 'adamx'"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"weight_decay": 0.1}, "weight_decay is for adamw"),
    ],
)
def test_wrong_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig(**{"steps": 10, "batch": 4, **settings})


def test_a_run_without_a_folder_cannot_be_resumed() -> None:
    with pytest.raises(ConfigError, match="without a folder"):
        train(resume=True)
