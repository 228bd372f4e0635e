"""Joint priors and consistency rules, where Gaussian priors make the answer known: Wiener separation.

Two stationary Gaussian fields on a 64 x 64 torus, one smooth and one band-limited, are added with white noise
of standard deviation 0.05. The posterior mean of each is the Wiener filter of its spectrum.
"""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import adams, ddim, log
from core.process import Karras, Product
from core.run import sample, steps
from core.steer import Joint, Measurement, at_mean, dps, pigdm, projection, steered

SIZE, NOISE = 64, 0.05
F64 = torch.float64


@dataclass(frozen=True)
class Field:
    """The exact denoiser of a stationary Gaussian field with this power spectrum; counts its calls."""

    spectrum: Tensor
    process: Karras = field(default_factory=lambda: Karras(0.01, 5.0))
    calls: list[float] = field(default_factory=list)

    def __call__(self, x: Tensor, t: float, cond: object = None) -> Posterior:
        self.calls.append(float(t))
        gain = self.spectrum / (self.spectrum + t**2)
        return Posterior(mean=torch.fft.ifft2(torch.fft.fft2(x) * gain).real)

    def draw(self, n: int, gen: torch.Generator) -> Tensor:
        white = torch.randn(n, SIZE, SIZE, generator=gen, dtype=F64)
        return torch.fft.ifft2(torch.fft.fft2(white) * self.spectrum.sqrt()).real


def fields() -> tuple[Field, Field]:
    k = torch.fft.fftfreq(SIZE, dtype=F64) * SIZE
    k2 = k[:, None] ** 2 + k[None] ** 2
    smooth = (1 + k2 / 9) ** -2.0
    band = torch.exp(-((k2.sqrt() - 16) ** 2) / (2 * 5**2))
    return Field(smooth / smooth.mean() * 0.5**2), Field(band / band.mean() * 0.4**2)


def problem(n: int) -> tuple[Joint, Tensor, Tensor, Tensor, torch.Generator]:
    """Joint prior, measurement repeated n times, Wiener answers of both parts."""
    gen = torch.Generator().manual_seed(0)
    x, h = fields()
    y = x.draw(1, gen) + h.draw(1, gen) + NOISE * torch.randn(1, SIZE, SIZE, generator=gen, dtype=F64)
    total = x.spectrum + h.spectrum + NOISE**2
    wiener = [torch.fft.ifft2(torch.fft.fft2(y) * part.spectrum / total).real for part in (x, h)]
    return Joint({"tissue": x, "haze": h}), y.expand(n, SIZE, SIZE), wiener[0], wiener[1], gen


def added(state: dict[str, Tensor]) -> Tensor:
    return state["tissue"] + state["haze"]


def run(rule: str, weight: float, *, n: int = 32, evaluations: int = 50) -> tuple[float, float, float]:
    """Relative distance of the mean of n samples to the Wiener answers, and rms of x + h - y over the
    noise.
    """
    joint, y, wiener_x, wiener_h, gen = problem(n)
    part = Karras(0.01, 5.0)
    plan = ddim(Product({"tissue": part, "haze": part}), log(part, evaluations), eta=1.0)
    measured = Measurement(y, added, {"tissue": weight, "haze": weight}, clip=1e9, var=NOISE**2)
    noise = torch.randn(y.shape, generator=gen, dtype=F64)
    model = steered(rule, joint, measured, plan, noise=noise)
    start = joint.process.prior({"tissue": y, "haze": y}, gen, plan.start)
    out = sample(plan, model, start, gen)
    gap_x = (out["tissue"].mean(0) - wiener_x[0]).norm() / wiener_x.norm()
    gap_h = (out["haze"].mean(0) - wiener_h[0]).norm() / wiener_h.norm()
    rest = (out["tissue"] + out["haze"] - y).square().mean().sqrt() / NOISE
    return float(gap_x), float(gap_h), float(rest)


def test_joint_sampling_finds_the_wiener_separation() -> None:
    # The mean of 32 samples carries a Monte-Carlo error of 1/sqrt(32) of the posterior spread: about .05 of
    # the norm.
    gap_x, gap_h, rest = run("pigdm", 1.0)
    assert gap_x <= 0.15
    assert gap_h <= 0.16
    assert rest <= 3.0


def test_correcting_at_the_mean_finds_the_wiener_separation() -> None:
    gap_x, gap_h, rest = run("x0", 0.5)
    assert max(gap_x, gap_h) <= 0.15
    assert rest <= 3.0


def test_without_the_measurement_the_separation_is_missed() -> None:
    gap_x, _, rest = run("x0", 0.0, n=8)
    assert gap_x > 0.5
    assert rest > 3.0


def test_a_measurement_pulled_the_wrong_way_is_caught() -> None:
    gap_x, _, rest = run("pigdm", -0.1, n=8)
    assert gap_x > 0.5 or rest > 3.0


def small() -> tuple[Joint, Tensor, Measurement]:
    joint, y, _, _, _ = problem(1)
    return joint, y, Measurement(y, added, {"tissue": 0.3, "haze": 0.2}, clip=2.0)


def test_projection_is_the_published_shift_then_step() -> None:
    joint, y, measured = small()
    gen = torch.Generator().manual_seed(3)
    noise = torch.randn(y.shape, generator=gen, dtype=F64)
    plan = ddim(joint.process, [2.0, 1.0, 0.5, 0.0])
    state = {name: torch.randn(y.shape, generator=gen, dtype=F64) for name in ("tissue", "haze")}
    model = projection(joint, measured, plan, noise=noise)
    by_hand = dict(state)
    for step, (t, s) in zip(steps(plan, model, state), [(2.0, 1.0), (1.0, 0.5), (0.5, 0.0)], strict=True):
        residual = y + t * noise - by_hand["tissue"] - by_hand["haze"]
        for name, weight in (("tissue", 0.3), ("haze", 0.2)):
            by_hand[name] = by_hand[name] + weight * (2 * residual).clamp(-2, 2)
        means = joint(by_hand, t).mean
        for name in by_hand:
            by_hand[name] = s / t * by_hand[name] + (1 - s / t) * means[name]
            assert torch.allclose(step.next[name], by_hand[name], atol=1e-12)


def test_dps_is_the_published_step_then_shift() -> None:
    joint, y, measured = small()
    plan = ddim(joint.process, [2.0, 1.0])
    state = {
        name: torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
        for name in measured.weights
    }
    out = sample(plan, dps(joint, measured, plan), state)
    free = {name: value.clone().requires_grad_(True) for name, value in state.items()}
    loss = (y - added(joint(free, 2.0).mean)).norm() * SIZE
    grads = dict(zip(free, torch.autograd.grad(loss, list(free.values())), strict=True))
    plain = sample(plan, joint, state)
    for name, weight in measured.weights.items():
        assert torch.allclose(out[name], plain[name] - weight * grads[name].clamp(-2, 2), atol=1e-12)


@pytest.mark.parametrize("rule", ["projection", "x0", "dps", "pigdm"])
def test_a_rule_calls_each_prior_once_per_evaluation(rule: str) -> None:
    joint, y, measured = small()
    plan = ddim(joint.process, log(Karras(0.01, 1.0), 5))
    sample(plan, steered(rule, joint, measured, plan, noise=y), {"tissue": y, "haze": y})
    assert [len(prior.calls) for prior in joint.priors.values()] == [5, 5]


def test_rules_without_a_jacobian_never_reach_through_the_priors() -> None:
    joint, y, measured = small()

    class Closed(Field):
        def __call__(self, x: Tensor, t: float, cond: object = None) -> Posterior:
            assert not x.requires_grad
            return super().__call__(x, t, cond)

    closed = Joint({name: Closed(prior.spectrum) for name, prior in joint.priors.items()})
    plan = ddim(closed.process, [2.0, 1.0])
    for model in (projection(closed, measured, plan, noise=y), at_mean(closed, measured)):
        sample(plan, model, {"tissue": y, "haze": y})
    with pytest.raises(AssertionError):
        sample(plan, pigdm(closed, measured), {"tissue": y, "haze": y})


def test_a_gradient_moves_no_element_further_than_the_clip() -> None:
    joint, y, _ = small()
    loud = Measurement(1e6 * y, added, {"tissue": 1.0, "haze": 1.0}, clip=0.5)
    state = {"tissue": y, "haze": y}
    moved = at_mean(joint, loud)(state, 1.0).mean
    still = joint(state, 1.0).mean
    assert float((moved["tissue"] - still["tissue"]).abs().max()) <= 0.5 + 1e-9


def test_a_misspelt_rule_is_named_with_its_nearest_neighbour() -> None:
    joint, y, measured = small()
    plan = ddim(joint.process, [2.0, 1.0])
    with pytest.raises(ConfigError, match="projecton") as caught:
        steered("projecton", joint, measured, plan, noise=y)
    assert caught.value.hint == "Did you mean 'projection'?"


def test_rules_that_read_rows_refuse_a_plan_of_a_single_process() -> None:
    joint, y, measured = small()
    plan = adams(Karras(), [2.0, 1.0], data_std=0.5)
    with pytest.raises(ConfigError, match="product"):
        projection(joint, measured, plan, noise=y)
