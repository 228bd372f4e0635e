"""Expectation-maximisation: monotone, exact in one textbook step, and good on held-out digits."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core.circuit import (
    Categorical,
    Circuit,
    Gaussian,
    Layout,
    assemble,
    batch_em,
    chow_liu,
    em,
    expected,
    hidden_tree,
    log_prob,
    maximised,
    mixture,
)
from core.errors import ConfigError
from tests.core.circuit.worlds import F64, STRUCTURES, normal, ternary
from tests.fixtures.digits import digits


def fraction(x: Tensor) -> float:
    return float(x.double().mean())


def ascent(circuit: Circuit, x: Tensor, sweeps: int, **options: object) -> list[float]:
    """Mean log density before each sweep and after the last one."""
    found = list(em(circuit, x, sweeps, **options))  # type: ignore[arg-type]
    known = options.get("known")
    return [s.log_prob for s in found] + [fraction(log_prob(found[-1].circuit, x, known))]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_no_sweep_lowers_the_likelihood(kind: str, share: float) -> None:
    gen = torch.Generator().manual_seed(1)
    discrete = torch.randint(3, (60, 6), generator=gen)
    known = torch.rand(60, 6, generator=gen) < share
    for circuit, x in (
        (ternary(kind, 6), discrete),
        (normal(kind, 6), torch.randn(60, 6, generator=gen).double()),
    ):
        path = ascent(circuit, x, 25, known=known)
        assert all(b >= a - 1e-10 for a, b in pairwise(path))
        assert path[-1] > path[0] + 0.05


def test_one_sweep_over_a_gaussian_mixture_is_the_textbook_one() -> None:
    circuit = normal("mixture", 2)
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(2), dtype=F64)
    law, weight = circuit.leaves, circuit.weights[0][0, :, 0]
    each = weight.log() + torch.distributions.Normal(law.mean.T, law.std.T).log_prob(x[:, None]).sum(2)  # type: ignore[union-attr]
    share = each.softmax(1)
    mean = share.T @ x / share.sum(0)[:, None]
    second = share.T @ x**2 / share.sum(0)[:, None]
    new = next(em(circuit, x, 1)).circuit
    torch.testing.assert_close(new.weights[0][0, :, 0], share.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(new.leaves.mean, mean.T, rtol=0, atol=1e-12)  # type: ignore[union-attr]
    torch.testing.assert_close(new.leaves.std, (second - mean**2).sqrt().T, rtol=0, atol=1e-12)  # type: ignore[union-attr]


def test_counts_without_the_weight_of_the_edge_lower_the_likelihood() -> None:
    circuit = ternary("hidden", 6)
    x = torch.randint(3, (60, 6), generator=torch.Generator().manual_seed(1))
    for sweep in em(circuit, x, 10):
        circuit = sweep.circuit
    found = expected(circuit, circuit.leaves.observed(x))
    wrong = tuple(c / w for c, w in zip(found.sums, circuit.weights, strict=True))
    before = log_prob(circuit, x).mean()
    assert log_prob(maximised(circuit, found._replace(sums=wrong)), x).mean() < before
    assert log_prob(maximised(circuit, found), x).mean() >= before


def test_how_the_data_are_cut_does_not_change_a_sweep() -> None:
    circuit = ternary("regions", 5)
    x = torch.randint(3, (50, 5), generator=torch.Generator().manual_seed(3))
    whole, cut = (next(em(circuit, x, 1, batch=b)).circuit for b in (50, 7))
    for a, b in zip(whole.weights, cut.weights, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_pseudo_counts_keep_every_edge_alive() -> None:
    circuit = ternary("mixture", 3)
    x = torch.zeros(5, 3, dtype=torch.long)
    for sweep in em(circuit, x, 20, pseudo=0.3):
        circuit = sweep.circuit
    # 0.3 counts over 3 values against at most 5 + 0.3.
    assert circuit.leaves.probs.min() >= 0.1 / 5.3 - 1e-12  # type: ignore[union-attr]


def test_small_batches_reach_what_sweeps_reach() -> None:
    gen = torch.Generator().manual_seed(0)
    x = torch.where(
        torch.rand(400, 6, generator=gen) < 0.1, 2, (torch.rand(400, 1, generator=gen) < 0.4).long()
    )
    circuit = ternary("hidden", 6)
    full = ascent(circuit, x, 60)[-1]
    *_, last = batch_em(circuit, x, 200, batch=64, gen=gen)
    start = fraction(log_prob(circuit, x))
    # Both climb to the same height; the batches of the last steps leave 2 % of the climb.
    assert fraction(log_prob(last.circuit, x)) > full - 0.02 * (full - start)


def test_a_gaussian_leaf_does_not_collapse_below_its_floor() -> None:
    law = Gaussian(torch.arange(1), torch.zeros(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64), floor=0.2)
    circuit = assemble(mixture(1, 1), law, torch.Generator().manual_seed(0))
    new = next(em(circuit, torch.full((9, 1), 0.7, dtype=F64), 1)).circuit
    assert new.leaves.std.item() == pytest.approx(0.2)  # type: ignore[union-attr]


def test_wrong_settings_are_named() -> None:
    circuit = ternary("mixture", 3)
    with pytest.raises(ConfigError, match="at least one sweep"):
        next(em(circuit, torch.zeros(2, 3, dtype=torch.long), 0))
    with pytest.raises(ConfigError, match=r"decay .* got 0.5"):
        next(
            batch_em(
                circuit, torch.zeros(2, 3, dtype=torch.long), 1, batch=2, gen=torch.Generator(), decay=0.5
            )
        )


def held_out(width: int, sweeps: int, pseudo: float) -> tuple[list[float], float, int]:
    """Log density of the training digits sweep by sweep; held-out loss over that of independent pixels."""
    set_ = digits()
    train, test = (x.gt(-1e-6).long() for x in (set_.train, set_.test))  # pixels of 8 of 16 and more
    gen = torch.Generator().manual_seed(0)
    graph = hidden_tree(chow_liu(train, 2), width)
    laws = Categorical.around(Layout.of(graph).variables, width, train, 2, gen, own=0.5)
    circuit = assemble(graph, laws, gen)
    path = []
    for sweep in em(circuit, train, sweeps, pseudo=pseudo):
        circuit = sweep.circuit
        path.append(sweep.log_prob)
    p = (train.double().sum(0) + 1) / (len(train) + 2)
    alone = torch.where(test > 0, p.log(), (1 - p).log()).sum(1).mean()
    return path, float(log_prob(circuit, test).mean() / alone), circuit.parameters


def test_em_never_lowers_the_likelihood_of_digits() -> None:
    path, _, _ = held_out(6, 12, 0.0)
    assert all(b >= a - 1e-9 for a, b in pairwise(path))


@pytest.mark.slow
def test_twenty_thousand_parameters_beat_independent_pixels_by_fifteen_per_cent() -> None:
    path, ratio, parameters = held_out(18, 60, 0.0)
    assert all(b >= a - 1e-9 for a, b in pairwise(path))
    _, ratio, parameters = held_out(18, 60, 1.0)
    print(f"held-out loss over independent pixels {ratio:.3f}, {parameters} parameters")
    assert 18_000 <= parameters <= 21_000
    assert ratio <= 0.85
