"""Symmetric splitting (S4): its linear part against closed forms, its row against the five lines."""

import math

import pytest
import torch

from core.denoise import Posterior
from core.plan import LangevinRow, Plan, Row, corrected, ddim, euler_maruyama, splitting, uniform
from core.process import VE, VP, Product
from core.run import Kicks, sample, steps
from core.state import Masked, Seeds, Symmetric
from tests.fixtures.mixtures import ring8
from tests.fixtures.normal import Normal, moments_of

F64 = torch.float64
PROCESSES = {"vp": VP(0.1, 5.0), "ve": VE(0.2, 3.0)}


def test_half_steps_have_the_variances_of_the_spec() -> None:
    process, (t, s) = VP(0.1, 1.0), (0.6, 0.5)
    # With a sure score of 0 the step is F alone: two half steps, whose variances add after the growth.
    row = splitting(process, [t, s]).rows[0]
    assert isinstance(row, Row)
    b = 0.1 * (t - s) + 0.9 * (t**2 - s**2) / 2
    assert row.keep + row.pull[0] / process.alpha(t) == pytest.approx(math.exp(b / 2), rel=1e-12)
    assert row.fresh**2 == pytest.approx(math.expm1(b), rel=1e-12)
    ve = PROCESSES["ve"]
    last = splitting(ve, [t, s]).rows[0]
    assert last.fresh**2 == pytest.approx(ve.sigma(t) ** 2 - ve.sigma(s) ** 2, rel=1e-12)  # type: ignore[union-attr]


def test_the_reference_variance_differs_in_second_order_only() -> None:
    process = VP(0.1, 1.0)
    gaps = []
    for n in (10, 20):
        exact, reference = (
            splitting(process, [1.0, 1.0 - 1 / n], variance=v) for v in ("exact", "reference")
        )
        gaps.append(exact.rows[0].fresh ** 2 - reference.rows[0].fresh ** 2)  # type: ignore[union-attr]
    assert gaps[0] > 0
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_error_falls_at_first_order(name: str) -> None:
    normal = Normal(0.4, 0.5, PROCESSES[name])
    plans = [splitting(normal.process, uniform(normal.process, n)) for n in (50, 100, 200)]
    off = [moments_of(plan, normal)[1] for plan in plans]
    end = normal.process.ends[0]
    truth = math.sqrt(normal.variance(end))
    errors = [abs(each - truth) for each in off]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("pooled", [True, False])
def test_one_row_is_the_five_lines_of_the_spec(pooled: bool, gen: torch.Generator) -> None:
    process, t, s = VP(0.1, 5.0), 0.6, 0.5
    mix = ring8().under(process)
    x = torch.randn(6, 2, generator=gen, dtype=F64)
    plan = splitting(process, [t, s], snr=0.1, temper=0.7, pooled=pooled)
    assert plan.evaluations == 1
    assert type(plan.rows[0]) is LangevinRow
    (step,) = steps(plan, mix, x, gen)
    assert isinstance(step.noise, Kicks)
    z, xi = step.noise
    score = mix.score(x, process.alpha(t), process.sigma(t))
    ratio = z.norm(dim=1, keepdim=True) / score.norm(dim=1, keepdim=True)
    if pooled:
        ratio = z.norm(dim=1).mean() / score.norm(dim=1).mean()
    e = 2 * (process.alpha(t) / process.alpha(s)) ** 2 * (0.1 * ratio) ** 2
    y = x + e * score + 0.7 * (2 * e).sqrt() * z
    m = (t + s) / 2
    grow = [process.alpha(m) / process.alpha(t), process.alpha(s) / process.alpha(m)]
    v = [g**2 - 1 for g in grow]
    y = grow[0] * y
    y = y + (t - s) * process.g2(t) * score
    y = grow[1] * y
    y = y + math.sqrt(grow[1] ** 2 * v[0] + v[1]) * xi
    assert torch.allclose(step.next, y, rtol=1e-10)
    wrong = grow[1] * grow[0] * x + (t - s) * process.g2(t) * score  # a split that forgets the second half
    assert not torch.allclose(step.next, wrong, rtol=1e-2)


def test_a_quiet_plan_ends_with_the_mean_of_its_last_step(gen: torch.Generator) -> None:
    process = Product({"a": VP(), "b": VE()})
    plan = splitting(process, [1.0, 0.5, 0.2], snr=0.1)
    quiet = plan.quiet()
    assert quiet.rows[0] == plan.rows[0]
    assert all(part.fresh == 0 for part in quiet.rows[-1].parts.values())  # type: ignore[union-attr]
    assert Plan.from_json(quiet.to_json()) == quiet
    linear = euler_maruyama(VP(), [1.0, 0.5]).quiet()
    assert not linear.stochastic


def test_correctors_of_a_product_move_every_part_from_the_same_state(gen: torch.Generator) -> None:
    process = Product({"nodes": VP(space=Masked()), "edges": VE(space=Symmetric())})
    parts = {"nodes": Normal(0.2, 0.5, VP()), "edges": Normal(0.0, 0.5, VE())}

    class Both:
        def __init__(self) -> None:
            self.process, self.calls = process, 0

        def __call__(self, x, t, cond=None):  # type: ignore[no-untyped-def]
            self.calls += 1
            mean = {k: parts[k](x[k], t).mean for k in parts}
            return Posterior(mean=process.space.project({**mean, "mask": x["mask"]}))

    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[0, 1:] = False  # one node: no edge has any degree of freedom
    like = {"nodes": torch.zeros(4, 3, 2, dtype=F64), "edges": torch.zeros(4, 3, 3, dtype=F64), "mask": mask}
    predictor = ddim(process, [1.0, 0.5, 0.2], eta=1.0)
    before = corrected(predictor, process, snr=0.1, temper=0.7, place="before", pooled=False)
    assert [(row.t, row.s) for row in before.rows] == [(1.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.5, 0.2)]
    assert (before.stochastic, before.order) == (True, 1)
    start = process.prior(like, gen)
    model = Both()
    whole = sample(before, model, start, Seeds(range(4)))
    assert model.calls == before.evaluations
    assert torch.equal(whole["edges"], whole["edges"].mT)
    assert float(whole["edges"][0].abs().max()) == 0
    assert float(whole["nodes"][0, 1:].abs().max()) == 0
    one = {k: v[2:3] for k, v in start.items()}
    alone = sample(before, Both(), one, Seeds([2]))
    assert torch.allclose(alone["nodes"], whole["nodes"][2:3], rtol=1e-12)


def test_a_part_that_reaches_zero_noise_takes_its_mean_while_the_other_is_corrected() -> None:
    process = Product({"a": VP(), "b": VE()})
    x0 = {"a": torch.ones(3, 2, dtype=F64), "b": torch.full((3, 2), 3.0, dtype=F64)}

    class Sure:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x, t, cond=None):  # type: ignore[no-untyped-def]
            return Posterior(mean=x0)

    plan = splitting(process, [0.5, 0.0], snr=0.1)
    end = sample(plan, Sure(), process.prior(x0, Seeds(range(3)), 0.5), Seeds(range(3)))
    assert torch.equal(end["a"], x0["a"])
    assert not torch.equal(end["b"], x0["b"])
