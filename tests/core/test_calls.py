"""The table of docs/core.md: how often each method calls the network, and whether it goes back through it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.analytic import Mixture
from core.classify import classify
from core.denoise import Posterior
from core.density.path import path_density
from core.infer import fk_sample, twist, twisted
from core.inverse import solve
from core.inverse.operators import Matrix
from core.plan import Plan, ancestral, ddim, karras
from core.process import Karras
from core.run import sample
from core.steer import Joint, Measurement, steered
from core.steer.compose import both, composed
from core.steer.guidance import classifier, classifier_free, doubled, given
from core.steer.measured import Observation, dps, explicit, pigdm
from core.steer.minority import Noisy, minority
from core.steer.shift import shifted
from core.steer.superpose import Average, superpose
from tests.fixtures.mixtures import ring8

PAGE = Path(__file__).resolve().parents[2] / "docs" / "core.md"
F64, N, B = torch.float64, 6, 3
PROCESS = Karras(0.02, 10.0)
RING = ring8().under(PROCESS)
EYE = torch.eye(2, dtype=F64)
Y = torch.full((B, 1), 0.4, dtype=F64)


class _Through(torch.autograd.Function):
    """The identity; it tells when a gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, told: list[int]) -> Tensor:
        ctx.told = told
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.told.append(1)
        return grads[0], None


@dataclass
class Watched:
    """A model that counts its calls, and the gradients that pass from its answer to its input."""

    inner: Mixture = RING
    calls: int = 0
    passed: list[int] = field(default_factory=list)
    data_std: float = 1.0

    @property
    def process(self) -> Karras:
        return PROCESS

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        self.calls += 1
        return Posterior(mean=self.inner(_Through.apply(x, self.passed), t).mean)


def rows_and_run(noisy: bool, steer: Callable[[Any, Plan], Any], **run: Any) -> Callable[[Watched], int]:
    """A method that is a combinator: sample with it."""

    def walk(model: Watched) -> int:
        times = karras(PROCESS, N)
        plan = ancestral(PROCESS, times) if noisy else ddim(PROCESS, times)
        gen = torch.Generator().manual_seed(0)
        sample(plan, steer(model, plan), PROCESS.prior(torch.zeros(B, 2, dtype=F64), gen), gen, **run)
        return plan.evaluations

    return walk


def joint(rule: str) -> Callable[[Watched], int]:
    def walk(model: Watched) -> int:
        prior = Joint({"one": model, "other": RING})
        plan = ddim(prior.process, karras(PROCESS, N))
        y = torch.full((B, 2), 0.3, dtype=F64)
        measured = Measurement(y, lambda parts: parts["one"] + parts["other"], {"one": 0.1, "other": 0.1})
        start = prior.process.prior({"one": y, "other": y}, torch.Generator().manual_seed(0))
        sample(plan, steered(rule, prior, measured, plan, noise=torch.zeros_like(y)), start)
        return plan.evaluations

    return walk


def noisy_plan() -> tuple[Plan, Tensor, torch.Generator]:
    gen = torch.Generator().manual_seed(0)
    plan = ancestral(PROCESS, karras(PROCESS, N)[:-1])
    return plan, PROCESS.prior(torch.zeros(B, 2, dtype=F64), gen, plan.start), gen


def superposed(model: Watched) -> int:
    plan, x, gen = noisy_plan()
    superpose(plan, [model, RING], x, gen, rule=Average())
    return plan.evaluations


def followed(model: Watched) -> int:
    plan, x, gen = noisy_plan()
    found = path_density(plan, model, x, gen)
    assert found.calls == model.calls
    return plan.evaluations


def weighed(model: Watched) -> int:
    plan, x, gen = noisy_plan()
    found = fk_sample(plan, model, lambda step: -step.posterior.mean.square().sum(1), x, gen)
    assert found.calls == model.calls
    return plan.evaluations


def classified(model: Watched) -> int:
    x = RING.sample(B, torch.Generator().manual_seed(0))
    found = classify(model, x, torch.arange(2), [0.1, 0.3, 1.0], torch.Generator().manual_seed(0))
    assert found.evaluations == 6  # two classes at three times, in one batch each
    return 3


def solved(method: str) -> Callable[[Watched], int]:
    def run(model: Watched) -> int:
        row = Matrix(torch.tensor([[0.6, -0.8]], dtype=F64))
        found = solve(model, row, Y, 0.3, method=method, nfe=N, gen=torch.Generator().manual_seed(0))
        assert found.nfe == model.calls
        return N

    return run


def seen() -> Observation:
    return Observation(Matrix(EYE[:1]), Y, 0.3)


def rareness() -> Noisy:
    net = nn.Linear(2, 2, dtype=F64)

    class Flat(nn.Module):
        def forward(self, x: Tensor, level: Tensor) -> Tensor:
            out: Tensor = net(x)
            return out

    return Noisy(Flat(), PROCESS)


def twisted_run(model: Watched) -> int:
    plan, x, gen = noisy_plan()
    law = twist(model, lambda mean, t: -mean.square().sum(1))
    found = fk_sample(plan, law, twisted(PROCESS, lambda x: -x.square().sum(1)), x, gen)
    assert found.calls == model.calls
    return plan.evaluations


METHODS: dict[str, Callable[[Watched], int]] = {
    "given": rows_and_run(False, lambda d, p: given(d, None)),
    "classifier_free": rows_and_run(False, lambda d, p: classifier_free(d, 2.0)),
    "doubled": rows_and_run(False, lambda d, p: doubled(d, 2.0, torch.zeros(1, 1)), cond=torch.ones(B, 1)),
    "classifier": rows_and_run(False, lambda d, p: classifier(d, lambda x, t: -x.square().sum(1))),
    "shifted": rows_and_run(False, lambda d, p: shifted(d, [row.t for row in p.rows], 2.0)),
    "explicit": rows_and_run(False, lambda d, p: explicit(d, seen(), lambda t: 0.5)),
    "pigdm": rows_and_run(False, lambda d, p: pigdm(d, seen())),
    "dps": rows_and_run(False, lambda d, p: dps(d, seen(), p)),
    "composed": rows_and_run(False, lambda d, p: composed((RING, RING), (1.0, -0.5), base=d)),
    "both": rows_and_run(False, lambda d, p: both(d, RING)),
    "minority": rows_and_run(False, lambda d, p: minority(d, rareness(), 1)),
    "twist": twisted_run,
    **{f"joint {rule}": joint(rule) for rule in ("projection", "x0", "dps", "pigdm")},
    "superpose": superposed,
    "path_density": followed,
    "fk_sample": weighed,
    "classify": classified,
    **{
        f"solve {name}": solved(name)
        for name in ("reddiff", "dps", "pigdm", "ddrm", "diffpir", "daps", "mcg", "red", "ilvr")
    },
}


def table() -> dict[str, tuple[float, bool]]:
    text = PAGE.read_text("utf-8").split("<!-- calls -->")[1].split("<!-- /calls -->")[0]
    rows = re.findall(r"\| `([^`]+)` \| `([^`]+)` \| ([\d.]+) \| (yes|no) \|", text)
    assert all((PAGE.parents[1] / where).is_file() for _, where, _, _ in rows)
    return {name: (float(calls), back == "yes") for name, _, calls, back in rows}


def test_the_table_has_every_method_that_is_counted_here() -> None:
    assert set(table()) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_calls_the_network_as_often_as_the_table_says(name: str) -> None:
    model = Watched()
    rows = METHODS[name](model)
    calls, back = table()[name]
    assert model.calls == calls * rows
    assert bool(model.passed) is back
