"""Distillation where the answer is known: maps of normal data, and one step of the teacher."""

from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.denoise import Posterior, wrap
from core.errors import ConfigError
from core.flow_map import jump, jumps
from core.plan import uniform
from core.process import VP, Gaussian, RectifiedFlow
from core.run import sample
from core.state import Seeds
from core.steer.guidance import weighed_by
from core.train import EMA, Batch, Consistency, FitConfig, Shuffled, Trajectory, fit, solved
from tests.core.test_flow_map import MEAN, STD, ExactMap, exact

FLOW = RectifiedFlow()


class Exact(nn.Module):
    """`ExactMap` as a module, with one weight that moves its answers by a constant."""

    def __init__(self, process: Gaussian = FLOW, sign: float = 1.0) -> None:
        super().__init__()
        self.process = process
        self.sign = sign
        self.off = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=ExactMap(self.process, self.sign)(x, t, cond).mean + self.off)


def teacher(process: Gaussian = FLOW) -> Any:
    """The posterior mean of N(MEAN, STD^2)."""

    class Law:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))[:, None]
            alpha, sigma = process.alpha(t), process.sigma(t)
            gain = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
            return Posterior(mean=MEAN + gain * (x - alpha * MEAN))

    return Law()


def data(count: int = 256) -> Batch:
    gen = torch.Generator().manual_seed(3)
    return Batch(MEAN + STD * torch.randn(count, 2, generator=gen, dtype=torch.float64))


def loss(kind: Any, student: Any, n: int, **options: Any) -> float:
    target = deepcopy(student)
    times = tuple(uniform(student.process, n))
    objective = kind(teacher=teacher(student.process), target=target, times=times, huber=1e-6, **options)
    with torch.no_grad():
        return float(objective(student, data(), Seeds(range(256))).mean())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
@pytest.mark.parametrize("process", [FLOW, VP()], ids=lambda p: type(p).__name__)
def test_a_step_of_the_teacher_has_its_order(process: Gaussian, solver: Any, order: int) -> None:
    t = torch.full((8,), 0.6, dtype=torch.float64)
    x = torch.linspace(-2, 3, 8, dtype=torch.float64)[:, None]
    errors = []
    for h in (0.1, 0.05, 0.025):
        found = solved(teacher(process), x, t, t - h, None, solver)
        errors.append(float((found - exact(process, x, 0.6, 0.6 - h)).abs().max()))
    for coarse, fine in pairwise(errors):
        assert coarse / fine > 0.8 * 2 ** (order + 1)  # the error of one step is of size h^(order + 1)


@pytest.mark.parametrize("kind", [Consistency, Trajectory])
def test_the_exact_map_costs_what_the_teachers_steps_leave(kind: Any) -> None:
    options = {"flow": 0.0} if kind is Trajectory else {}
    coarse, fine = (loss(kind, Exact(), n, solver="heun", **options) for n in (20, 40))
    # Per sample the distance is the local error of a step of order 2, of size h^3; grids 2 times finer.
    assert coarse < 2e-3
    assert coarse / fine > 4
    assert loss(kind, Exact(sign=-1.0), 40, solver="heun", **options) > 100 * fine


def test_on_a_grid_of_two_times_the_target_is_one_step_of_the_teacher() -> None:
    x0, seeds = data(), Seeds(range(256))
    student, target = Exact(), Exact(sign=-1.0)  # the average must not matter
    objective = Consistency(teacher(), target, times=(1.0, 0.0), huber=1e-9)
    found = objective(student, x0, seeds)
    u = Seeds(range(256))
    torch.stack([torch.rand(2, generator=g, dtype=torch.float64) for g in u.generators])  # what was drawn
    x, _ = FLOW.perturb(x0.x0, torch.ones(256, dtype=torch.float64), u)
    one = torch.ones(256, dtype=torch.float64)
    step = solved(teacher(), x, one, 0 * one, None)
    wanted = (jump(student, x, one, 0 * one) - step).square().mean(1).sqrt()
    assert torch.allclose(found, wanted, atol=1e-8)


def test_the_flow_term_is_least_at_the_posterior_mean() -> None:
    at = dict.fromkeys((-0.2, 0.0, 0.2), 0.0)
    for off in at:
        student = Exact()
        student.off.data.fill_(off)
        zero = Trajectory(teacher(), deepcopy(student), times=tuple(uniform(FLOW, 8)), flow=0.0)
        one = Trajectory(teacher(), deepcopy(student), times=tuple(uniform(FLOW, 8)), flow=1.0)
        with torch.no_grad():
            losses = [o(student, data(), Seeds(range(256))).mean() for o in (zero, one)]
        at[off] = float(losses[1] - losses[0])
    # |F - v|^2 grows by the mean of (off / t)^2, at least 0.04, over the level of the posterior's variance.
    assert min(at[-0.2], at[0.2]) > at[0.0] + 0.03


class Small(nn.Module):
    """The flow of a flow map: an affine function of x that depends on t, s and the weight told."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 2))

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        weight = cond.get("weight", torch.zeros_like(t))
        gain, shift = self.body(torch.stack([t, cond["to"], weight], 1).float()).unbind(1)
        return gain[:, None] * x + shift[:, None]


@pytest.mark.parametrize("kind", [Consistency, Trajectory])
def test_a_student_learns_the_map_and_needs_one_call(kind: Any) -> None:
    gen = torch.Generator().manual_seed(0)
    x0 = MEAN + STD * torch.randn(512, 2, generator=gen)
    torch.manual_seed(0)
    student = wrap(Small(), FLOW, predicts="flow")
    objective = kind(teacher(), deepcopy(student), times=tuple(uniform(FLOW, 16)), solver="heun")
    config = FitConfig(steps=150, batch=64, lr=5e-3, schedule="cosine", ema=EMA(0.95), every_steps=None)
    fit(objective, student, Shuffled(x0), config, seed=0)
    x = torch.randn(512, 2, generator=gen)
    once = jump(student, x, torch.ones(512).double(), torch.full((512,), 1e-3).double())
    root = float((once - exact(FLOW, x, 1.0, 1e-3)).square().mean().sqrt().detach())
    # One step of the teacher instead sends everything to the mean: an error of STD, 0.4.
    assert root < 0.08
    if kind is Trajectory:
        plan, model = jumps(student, uniform(FLOW, 4))
        assert float((sample(plan, model, x) - exact(FLOW, x, 1.0, 1e-3)).square().mean().sqrt()) < 0.08


def test_the_weight_of_guidance_is_told_to_both() -> None:
    seen: list[Tensor] = []

    def answer(x: Tensor, t: Any, cond: Any) -> Tensor:
        return torch.full_like(x, 3.0) if cond["on"] else torch.full_like(x, 1.0)

    def network(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        seen.append(cond["weight"])
        return x

    guided = weighed_by(wrap(answer, FLOW, predicts="x0"), lambda cond: {**cond, "on": False})
    student = wrap(network, FLOW, predicts="x0")
    objective = Consistency(
        guided, student, times=(1.0, 0.0), prepare=lambda cond, u: {"on": True, "weight": 1 + 5 * u}
    )
    objective(student, data(64), Seeds(range(64)))
    weights = seen[0]
    assert torch.all((weights >= 1) & (weights <= 6))
    assert weights.std() > 1  # uniform on [1, 6]: 1.44
    clean = guided(torch.zeros(64, 2).double(), 0.5, {"on": True, "weight": weights}).mean
    assert torch.allclose(clean, (1 + 2 * weights)[:, None].expand(64, 2).to(clean))


def test_the_target_is_the_running_average_and_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    def run(folder: Path, steps: int, resume: bool = False) -> tuple[nn.Module, Any]:
        torch.manual_seed(0)
        student = wrap(Small(), FLOW, predicts="flow")
        objective = Consistency(teacher(), deepcopy(student), times=tuple(uniform(FLOW, 6)))
        config = FitConfig(steps=steps, batch=8, lr=1e-2, ema=EMA(0.9), every_steps=3)
        x0 = data(32).x0.float()
        return objective.target, fit(
            objective, student, Shuffled(x0), config, seed=1, folder=folder, resume=resume
        )

    target, before = run(tmp_path / "before", 6)
    whole_target, whole = run(tmp_path / "whole", 7)
    # The last step compared with the average after six, which a run of six returns.
    for name, value in before.weights.items():
        assert torch.equal(whole_target.net.state_dict()[name], value)  # type: ignore[union-attr]
    run(tmp_path / "cut", 3)
    _, again = run(tmp_path / "cut", 7, resume=True)
    assert all(torch.equal(again.weights[name], value) for name, value in whole.weights.items())
    assert not target.net.training  # type: ignore[union-attr]


def test_padding_does_not_count() -> None:
    student = wrap(Small(), FLOW, predicts="flow")
    valid = torch.tensor([[1.0, 0.0]]).expand(16, 2)
    for kind in (Consistency, Trajectory):
        objective = kind(
            teacher(), deepcopy(student), times=(1.0, 0.5, 0.0), valid=lambda cond: cond["valid"]
        )
        losses = []
        for filler in (0.0, 1e3):
            x0 = torch.cat([data(16).x0[:, :1].float(), torch.full((16, 1), filler)], 1)
            losses.append(objective(student, Batch(x0, {"valid": valid}), Seeds(range(16))))
        assert torch.allclose(losses[0], losses[1])


def test_impossible_settings_are_named() -> None:
    student = Exact()
    with pytest.raises(ConfigError, match="unknown solver 'rk4'"):
        Consistency(teacher(), student, times=(1.0, 0.0), solver="rk4")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="increasing"):
        Trajectory(teacher(), student, times=(0.0, 1.0))
    objective = Consistency(teacher(), student, times=(1.0, 0.0))
    with pytest.raises(ConfigError, match="needs the running average"):
        fit(objective, student, Shuffled(data(8).x0), FitConfig(steps=1, batch=8, ema=None), seed=0)
