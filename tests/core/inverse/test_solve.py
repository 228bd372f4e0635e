"""The one call: units, seeds, counts, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.inverse import (
    DAPS,
    DPS,
    HDR,
    METHODS,
    Additive,
    Inpainting,
    Matrix,
    PiGDM,
    RedDiff,
    Separable,
    Stack,
    solve,
)
from core.inverse.plans import Shaped
from core.plan import ddim
from core.process import Karras, Masking, RectifiedFlow
from core.state import Seeds
from tests.fixtures.field import Field, random_mask
from tests.fixtures.mixtures import lowrank32

LINEAR_ONLY = [name for name, kind in METHODS.items() if not kind.nonlinear]


def problem(n: int = 2) -> tuple[Field, Inpainting, Tensor]:
    gen = torch.Generator().manual_seed(0)
    field = Field()
    x = 2 * field.draw(n, gen) - 1
    operator = Inpainting(random_mask(gen))
    return field, operator, operator.A(x + 0.1 * torch.randn(x.shape, generator=gen))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_calls_the_network_once_per_evaluation(name: str) -> None:
    field, operator, y = problem()
    calls = []

    class Counting(Field):
        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Any:
            calls.append(x.shape[0])
            return field(x, t, cond)

    solved = solve(Counting(), operator, y, 0.1, method=name, nfe=6, gen=torch.Generator().manual_seed(0))
    assert calls == [2] * 6
    assert solved.nfe == 6
    assert solved.method == name
    assert solved.kind == METHODS[name].kind
    assert solved.seconds >= 0
    assert solved.residual.shape == (2,)


def test_inner_odes_and_draws_are_counted_as_evaluations() -> None:
    field, operator, y = problem()
    for method in (DAPS(ode=3), RedDiff(draws=3)):
        solved = solve(field, operator, y, 0.1, method=method, nfe=12, gen=torch.Generator().manual_seed(0))
        assert solved.nfe == 12
    with pytest.raises(ConfigError, match="multiple"):
        solve(field, operator, y, 0.1, method=DAPS(ode=5), nfe=12, gen=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", METHODS)
def test_a_sample_of_a_batch_equals_the_sample_alone(name: str) -> None:
    field, operator, y = problem()
    both = solve(field, operator, y, 0.1, method=name, nfe=5, gen=Seeds([3, 4])).x
    alone = solve(field, operator, y[1:], 0.1, method=name, nfe=5, gen=Seeds([4])).x
    assert torch.allclose(both[1:], alone, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_units_are_the_users(name: str) -> None:
    """The same measurement in units of [0, 1], [-1, 1] and [0, 255] gives the same image in these units."""
    field, operator, y = problem()
    found = []
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0)):
        scale, centre = (high - low) / 2, (high + low) / 2
        own = operator.seen(scale * y + centre)
        gen = torch.Generator().manual_seed(0)
        solved = solve(field, operator, own, 0.1 * scale, method=name, nfe=5, gen=gen, data_range=(low, high))
        found.append((solved.x - centre) / scale)
        residual = operator.seen(own - solved.x).flatten(1).square().sum(1) / operator.mask.sum()
        assert torch.allclose(solved.residual, residual.sqrt(), rtol=1e-4)
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert torch.allclose(found[0], found[2], atol=1e-4)


def test_units_reach_inside_nonlinear_operators() -> None:
    """An exposure of [0, 1] levels, clipped at .8, is the same problem as that of [-1, 1] levels at .6."""
    field, _, _ = problem()
    x = field.draw(2, torch.Generator().manual_seed(0))
    shape = (1, 64, 64)
    user, inner = HDR(shape, 1.0, 0.0, 0.8), HDR(shape, 1.0, -1.0, 0.6)
    results = []
    for operator, state, span, noise in ((user, x, (0.0, 1.0), 0.01), (inner, 2 * x - 1, (-1.0, 1.0), 0.02)):
        gen = torch.Generator().manual_seed(0)
        solved = solve(
            field, operator, operator.A(state), noise, method=DPS(), nfe=8, gen=gen, data_range=span
        )
        results.append((solved.x - sum(span) / 2) * 2 / (span[1] - span[0]))
    assert torch.allclose(results[0], results[1], atol=1e-3)


def test_what_lies_outside_of_the_mask_does_not_matter() -> None:
    field, operator, y = problem()
    rubbish = torch.where(operator.mask, y, 1e6)
    for name in METHODS:
        found = [
            solve(field, operator, each, 0.1, method=name, nfe=4, gen=torch.Generator().manual_seed(0))
            for each in (y, rubbish)
        ]
        assert torch.equal(found[0].x, found[1].x)
        assert torch.allclose(found[0].residual, found[1].residual)


def test_samples_are_drawn_and_averaged() -> None:
    field, operator, y = problem()
    mean = solve(field, operator, y, 0.1, method="ddrm", nfe=5, gen=Seeds([1, 2, 3, 4]), samples=2)
    each = [
        solve(field, operator, y, 0.1, method="ddrm", nfe=5, gen=Seeds(seeds)).x for seeds in ([1, 3], [2, 4])
    ]
    assert mean.kind == "mean"
    assert mean.nfe == 10
    assert torch.allclose(mean.x, (each[0] + each[1]) / 2, atol=1e-5)


@pytest.mark.parametrize("name", LINEAR_ONLY)
def test_linear_methods_refuse_other_operators_and_name_those_that_serve(name: str) -> None:
    field, _, y = problem()
    with pytest.raises(ConfigError, match="linear") as caught:
        solve(field, HDR((1, 64, 64)), y, 0.1, method=name, nfe=5)
    assert "reddiff, dps, daps" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["reddiff", "dps", "daps"])
def test_three_methods_serve_any_differentiable_operator(name: str) -> None:
    field, _, y = problem()
    found = solve(field, HDR((1, 64, 64)), y, 0.1, method=name, nfe=3, gen=torch.Generator().manual_seed(0))
    assert torch.isfinite(found.x).all()


def test_operators_without_a_spectrum_are_solved_by_conjugate_gradients() -> None:
    field, operator, y = problem()
    both = Stack((operator, Separable.average((1, 64, 64), 8)))
    joined = both.A(torch.zeros(2, 1, 64, 64))
    for name in ("pigdm", "diffpir", "daps", "red", "reddiff", "dps"):
        solve(field, both, joined, 0.1, method=name, nfe=2, gen=torch.Generator().manual_seed(0))
    for name in ("ddrm", "mcg", "ilvr"):
        with pytest.raises(ConfigError, match="singular vectors"):
            solve(field, both, joined, 0.1, method=name, nfe=2)
    alone = Stack((operator,))
    kept = [
        solve(field, op, m, 0.1, method="diffpir", nfe=4, gen=torch.Generator().manual_seed(0)).x
        for op, m in ((operator, y), (alone, y.flatten(1)))
    ]
    assert torch.allclose(kept[0], kept[1], atol=1e-3)


def test_joint_points_to_the_method_that_separates_parts() -> None:
    field, operator, y = problem()
    with pytest.raises(ConfigError, match="several parts"):
        solve(field, Additive({"tissue": 1.0, "haze": 1.0}), y, 0.1)
    with pytest.raises(ConfigError, match="several parts") as caught:
        solve(field, operator, y, 0.1, method="joint")
    assert "core.steer.Joint" in (caught.value.hint or "")


def test_a_misspelt_method_is_named_with_its_nearest_neighbour() -> None:
    field, operator, y = problem()
    with pytest.raises(ConfigError, match="redif") as caught:
        solve(field, operator, y, 0.1, method="redif")
    assert caught.value.hint == "Did you mean 'reddiff'?"


class Tokens:
    process = Masking(5)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"sigma_y": -1.0}, ConfigError, "sigma_y"),
        ({"nfe": 0}, ConfigError, "nfe"),
        ({"samples": 2}, ConfigError, "optimum"),
        ({"data_range": (1.0, 0.0)}, ConfigError, "data_range"),
        ({"y": torch.zeros(2, 1, 8, 8)}, DataError, r"\(1, 64, 64\)"),
        ({"y": torch.full((2, 1, 64, 64), float("nan"))}, DataError, "finite"),
        ({"operator": object()}, ConfigError, "shape"),
        ({"prior": Tokens()}, ConfigError, "Gaussian"),
        ({"gen": None}, ConfigError, "randomness"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused_in_words(
    changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    field, operator, y = problem()
    given: dict[str, Any] = {
        "prior": field,
        "operator": operator,
        "y": y,
        "sigma_y": 0.1,
        "nfe": 2,
        "gen": torch.Generator().manual_seed(0),
    }
    with pytest.raises(error, match=words):
        solve(**{**given, **changes})


def test_a_method_that_needs_the_spread_of_the_data_asks_for_it() -> None:
    class Bare:
        process = Karras()

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Any:
            return lowrank32()(x, t)

    a = torch.eye(32, dtype=torch.float64)[:4]
    y = torch.zeros(1, 4, dtype=torch.float64)
    gen = torch.Generator().manual_seed(0)
    with pytest.raises(ConfigError, match="standard deviation") as caught:
        solve(Bare(), Matrix(a), y, 0.1, method="pigdm", nfe=2, gen=gen)
    assert "data_std" in (caught.value.hint or "")
    solve(Bare(), Matrix(a), y, 0.1, method=PiGDM(data_std=1.0), nfe=2, gen=gen)
    solve(Bare(), Matrix(a), y, 0.1, method="pigdm", nfe=2, gen=gen, data_std=0.9)


def test_a_process_without_signal_at_its_end_is_entered_where_the_data_still_show() -> None:
    """The rectified flow ends at an infinite ratio; 50 deviations of the data are far enough."""
    flow = Field(process=RectifiedFlow())
    _, operator, y = problem()
    found = solve(flow, operator, y, 0.1, method="ddrm", nfe=20, gen=torch.Generator().manual_seed(0)).x
    gen = torch.Generator().manual_seed(0)
    other = solve(Field(process=Karras(0.001, 20.0)), operator, y, 0.1, method="ddrm", nfe=20, gen=gen).x
    # The two processes are the same one in other units, on nearly the same grid.
    assert torch.allclose(found, other, atol=0.02)


def test_shaped_noises_are_made_row_by_row() -> None:
    plan = ddim(Karras(), [2.0, 1.0, 0.5], eta=1.0)
    shaped = Shaped(plan, lambda row: torch.tensor(row.t))
    assert len(shaped) == 2
    assert [float(z) for z in shaped] == [float(z) for z in shaped[:]] == [2.0, 1.0]
