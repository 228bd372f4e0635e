"""Time shift: an unbiased choice of time, no effect where it is off, and no cost but a variance (C07)."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.denoise import Posterior, wrap
from core.errors import ConfigError
from core.metrics import frechet
from core.plan import adams, ancestral, ddim, dpmpp, heun, karras, log, uniform
from core.process import VP, Karras, Poisson, Product
from core.run import sample
from core.steer.shift import exposure, shifted
from core.train import within_variance
from tests.fixtures.digits import digits, digits_denoiser, pca
from tests.fixtures.mixtures import lowrank32
from tests.fixtures.normal import Normal

F64 = torch.float64
EDM = Karras()
LEVELS = log(EDM, 1000)
D = 3072


def chosen(process: Any, levels: list[float], t: float, v0: float, scale: float = 1.0) -> Tensor:
    """Shifts, in levels, of 400 states of 3072 unit-variance normal entries noised to time t."""
    gen = torch.Generator().manual_seed(0)
    x, _ = process.perturb(torch.randn(400, D, generator=gen), t, gen)
    model = shifted(Normal(0.0, 1.0, process), levels, 100, v0=v0)
    place = {s: i for i, s in enumerate(model.levels)}
    return torch.tensor([float(place[s] - place[t]) for s in model.times(scale * x, t).tolist()])


@pytest.mark.parametrize("place", [200, 400, 480])
def test_the_choice_is_unbiased_on_states_of_the_right_law(place: int) -> None:
    shift = chosen(EDM, LEVELS, LEVELS[place], v0=1.0)
    # The variance of 3072 entries is known to 2.6 %, a few levels; 400 samples know the mean to a twentieth.
    print(f"sigma {LEVELS[place]:.3f}: mean shift {shift.mean():+.3f} levels, deviation {shift.std():.2f}")
    assert abs(shift.mean().item()) < 1


def test_a_process_of_constant_variance_gives_no_reason_to_shift() -> None:
    times = uniform(VP(), 1000)
    shift = chosen(VP(), times, times[500], v0=(D - 1) / D)  # the mean variance within unit-variance samples
    assert (shift == 0).all()


def test_the_published_rule_moves_states_of_too_much_variance_to_the_noisier_side() -> None:
    times = uniform(VP(), 1000)
    shift = chosen(VP(), times, times[500], v0=0.0, scale=1.02)
    print(f"share on the noisier side: {(shift > 0).double().mean():.3f}")
    assert (shift > 0).double().mean().item() >= 0.95
    wide = chosen(EDM, LEVELS, LEVELS[300], v0=0.0, scale=1.02)
    assert (wide > 0).double().mean().item() >= 0.95


def test_forgetting_the_variance_of_the_data_biases_the_choice() -> None:
    assert chosen(EDM, LEVELS, LEVELS[480], v0=0.0).mean().item() > 20


def test_the_choice_stays_in_the_window_and_a_time_between_levels_is_its_own_candidate() -> None:
    model = shifted(Normal(), [0.1, 0.2, 0.4, 0.8, 1.6], 2)
    assert model.candidates(0.4) == [0.4, 0.2, 0.8]
    assert model.candidates(0.3) == [0.3, 0.2, 0.4]
    assert model.candidates(0.1) == [0.1, 0.2]
    assert model.candidates(80.0) == [80.0]
    assert shifted(Normal(), [0.1, 0.2, 0.4, 0.8, 1.6], 1).candidates(0.4) == [0.4]
    assert shifted(Normal(), [0.1, 0.2, 0.4, 0.8, 1.6], 2, cutoff=0.4).candidates(0.4) == [0.4]
    # Variance 0.65 lies between 0.4^2 and 0.8^2 and is nearer to the second.
    x = torch.tensor([[0.806, -0.806]])
    assert shifted(Normal(), [0.1, 0.2, 0.4, 0.8, 1.6], 2).times(x, 0.4).tolist() == [0.8]


PLANS = {
    "ancestral (DDPM)": lambda: ancestral(EDM, karras(EDM, 10)),
    "ddim": lambda: ddim(EDM, karras(EDM, 10), eta=0.3),
    "adams 4 (PNDM)": lambda: adams(EDM, karras(EDM, 10), data_std=0.8, order=4),
    "dpmpp (DPM-Solver)": lambda: dpmpp(EDM, karras(EDM, 10)),
    "adams 3 (DEIS)": lambda: adams(EDM, karras(EDM, 10), data_std=0.8),
    "heun": lambda: heun(EDM, karras(EDM, 10)),
}


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.process, self.calls = inner, inner.process, 0

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.calls += 1
        return self.inner(x, t, cond)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(
    ("window", "cutoff"), [(0, None), (40, 80.0), (40, None)], ids=["window 0", "cutoff T", "on"]
)
def test_a_shift_that_is_off_changes_no_bit_and_one_that_is_on_costs_no_call(
    name: str, window: int, cutoff: float | None
) -> None:
    mix, plan = lowrank32().to(torch.float32), PLANS[name]()
    x = EDM.prior(torch.empty(20, 32), torch.Generator().manual_seed(0))
    counted = Counted(mix)
    model = shifted(counted, LEVELS, window, v0=0.5, cutoff=cutoff)
    end = sample(plan, model, x, torch.Generator().manual_seed(1))
    base = sample(plan, mix, x, torch.Generator().manual_seed(1))
    assert counted.calls == plan.evaluations
    assert torch.equal(end, base) == (window == 0 or cutoff == 80.0)


class Counter(TorchDispatchMode):
    """Names of the operations that read or write a tensor as large as the state."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.seen = size, []  # type: ignore[var-annotated]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        large = [a for a in (*args, out) if isinstance(a, Tensor) and a.numel() >= self.size]
        if large and "view" not in str(func):
            self.seen.append(str(func))
        return out


def test_the_cost_of_a_step_is_one_variance() -> None:
    x = torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0))

    class Silent:
        process = EDM

        def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
            return Posterior(mean=x)

    for holds, more in (("data", 0), ("noise", 3)):
        model = shifted(Silent(), LEVELS, 40, holds=holds)  # type: ignore[arg-type]
        with Counter(x.numel()) as counter:
            model(x, LEVELS[500])
        assert [name.split(".")[1] for name in counter.seen][:1] == ["var"]
        assert len(counter.seen) == 1 + more


def test_the_network_is_told_the_chosen_time_and_the_coefficients_stay(gen: torch.Generator) -> None:
    told = []

    def net(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        told.append(t)
        return torch.tanh(x) + t[:, None]

    process = VP()
    times = uniform(process, 1000)
    model = shifted(wrap(net, process, predicts="eps"), times, 60)
    t = times[600]
    x = 1.05 * torch.randn(5, 40, generator=gen, dtype=F64)
    x[0] *= 0.8
    mean = model(x, t).mean
    assert torch.equal(told[0], model.times(x, t))
    assert len(set(told[0].tolist())) > 1
    eps = (x - process.alpha(t) * mean) / process.sigma(t)
    assert torch.allclose(eps, torch.tanh(x) + told[0][:, None], atol=1e-12)
    data = shifted(wrap(net, process, predicts="eps"), times, 60, holds="data")
    s = told[0]
    clean = (x - process.sigma(s)[:, None] * (torch.tanh(x) + s[:, None])) / process.alpha(s)[:, None]
    assert torch.allclose(data(x, t).mean, clean, atol=1e-12)


def test_a_shift_repairs_a_state_of_too_much_noise() -> None:
    class Unit:
        """The exact denoiser of N(0, I), at a time per sample."""

        process = EDM

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            return Posterior(mean=x / (1 + torch.as_tensor(t, dtype=F64).reshape(-1, 1) ** 2))

    # The state is of level 1.3 but called 1: the right time gives the right posterior mean, up to the 2.6 %
    # to which the variance of 3072 entries is known.
    gen = torch.Generator().manual_seed(0)
    x, _ = EDM.perturb(torch.randn(50, D, generator=gen, dtype=F64), 1.3, gen)
    moved = shifted(Unit(), LEVELS, 100, v0=1.0, holds="data")
    off = [(m(x, 1.0).mean - Unit()(x, 1.3).mean).square().mean().item() for m in (Unit(), moved)]
    assert off[1] < 0.02 * off[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: shifted(Normal(process=Poisson(8.0)), LEVELS, 5), "Gaussian process, got Poisson"),
        (lambda: shifted(Normal(process=Product({"a": EDM})), LEVELS, 5), "Gaussian process, got Product"),
        (lambda: shifted(Normal(), [1.0], 5), "at least 2 noisy levels"),
        (lambda: shifted(Normal(), LEVELS, -1), "window >= 0"),
        (lambda: shifted(Normal(), LEVELS, 5, v0=-1.0), "v0 >= 0"),
        (lambda: shifted(Normal(), LEVELS, 5, holds="nose"), "unknown choice of holds 'nose'"),
        (lambda: shifted(Normal(), LEVELS, 5)({"a": torch.zeros(1, 2)}, 1.0), "needs a tensor state"),
    ],
)
def test_shifts_that_make_no_sense_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


# -- the exposure curve ----------------------------------------------------------------------------


def test_exposure_compares_the_run_with_forward_states(gen: torch.Generator) -> None:
    model, plan = Normal(0.0, 0.5), ddim(EDM, [4.0, 2.0, 1.0])
    x0 = 0.5 * torch.randn(300, 8, generator=gen, dtype=F64)
    found = exposure(plan, model, x0, torch.Generator().manual_seed(3))
    eps = torch.randn(300, 8, generator=torch.Generator().manual_seed(3), dtype=F64)
    assert found.times == (4.0, 2.0)
    assert found.gap[0] == 0
    assert found.sampled[0] == found.forward[0]
    start = x0 + 4 * eps
    reached = model(start, 4.0).mean + 2 * (start - model(start, 4.0).mean) / 4

    def noise(x: Tensor) -> Tensor:
        return (x - model(x, 2.0).mean) / 2

    gap = (noise(reached) - noise(x0 + 2 * eps)).square().mean().sqrt().item()
    assert found.gap[1] == pytest.approx(gap, rel=1e-12)


def test_a_damaged_model_is_exposed_and_an_exact_one_is_not() -> None:
    model = Normal(0.0, 0.5)

    class Damaged:
        process = EDM

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            return Posterior(mean=x + 0.9 * (model(x, t).mean - x))

    plan = ddim(EDM, karras(EDM, 200))
    x0 = 0.5 * torch.randn(1000, 8, generator=torch.Generator().manual_seed(0), dtype=F64)
    ratios = []
    for denoiser in (model, Damaged()):
        curve = exposure(plan, denoiser, x0, torch.Generator().manual_seed(1))
        ratios.append(max(abs(s / f - 1) for s, f in zip(curve.sampled, curve.forward, strict=True)))
    print(f"largest departure of the predicted noise: exact {ratios[0]:.3f}, damaged {ratios[1]:.3f}")
    # 8000 entries know a root mean square to 0.8 %; the steps of the plan add about 2 %.
    assert ratios[0] < 0.05
    assert ratios[1] > 0.2


# -- a trained model --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 10])
def test_a_tuned_shift_is_no_worse_on_digits(n: int) -> None:
    data, model = digits(), digits_denoiser()
    process = model.process
    centre, axes = pca(data.train)
    test = (data.test - centre) @ axes
    levels, v0 = log(process, 1000), within_variance(data.train)
    x = process.prior(torch.empty(1000, 64), torch.Generator().manual_seed(0))
    plan = ddim(process, karras(process, n))

    def score(denoiser: Any) -> float:
        return frechet((sample(plan, denoiser, x) - centre) @ axes, test)

    base = score(model)
    for holds in ("noise", "data"):
        found = {
            w: score(shifted(model, levels, w, v0=v0, cutoff=0.3, holds=holds)) for w in (4, 16, 64, 256)
        }
        published = {w: score(shifted(model, levels, w, cutoff=0.3, holds=holds)) for w in (4, 16, 64, 256)}
        print(f"{n} steps, {holds}: base {base:.3f}, v0 {found}, v0 = 0 {published}")
        if holds == "noise":
            assert min(found.values()) <= 1.02 * base
    curve = exposure(plan, model, data.train[:500], torch.Generator().manual_seed(1))
    print("exposure:", [f"{t:.3g}: {g:.3f}" for t, g in zip(curve.times, curve.gap, strict=True)])
    assert curve.gap[0] == 0
    assert all(math.isfinite(g) for g in curve.gap)
