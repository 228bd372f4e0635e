"""Circuits against sums over all states: likelihood, marginals, conditionals and soft evidence to 1e-10."""

import itertools

import pytest
import torch

from core.circuit import (
    Categorical,
    Gaussian,
    Layout,
    Likelihood,
    Reading,
    assemble,
    conditional,
    diffused,
    draw,
    hidden_tree,
    log_prob,
    mixture,
    posterior,
    region_graph,
)
from core.errors import ConfigError, DataError
from core.state import Seeds
from tests.core.circuit.worlds import F64, STRUCTURES, normal, one_hot, states, ternary
from tests.fixtures.mixtures import ring8

EXACT = 1e-10


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("variables", [2, 5, 10])
def test_the_density_sums_to_one(kind: str, variables: int) -> None:
    total = log_prob(ternary(kind, variables), states(variables)).exp().sum()
    assert total.item() == pytest.approx(1, abs=EXACT)


def test_a_mixture_is_the_sum_of_products_it_says() -> None:
    circuit = ternary("mixture", 3)
    x = states(3)
    law, weight = circuit.leaves.probs, circuit.weights[0][0, :, 0]  # type: ignore[union-attr]
    direct = sum(weight[k] * law[0, k, x[:, 0]] * law[1, k, x[:, 1]] * law[2, k, x[:, 2]] for k in range(3))
    torch.testing.assert_close(log_prob(circuit, x), direct.log(), rtol=0, atol=EXACT)


def test_a_region_graph_is_its_formula() -> None:
    gen = torch.Generator().manual_seed(3)
    graph = region_graph([((0, 1), (2, 3))], 2)
    layout = Layout.of(graph)
    data = torch.randint(3, (20, 4), generator=gen)
    circuit = assemble(graph, Categorical.around(layout.variables, 2, data, 3, gen, own=0.9), gen)
    x = states(4)
    p = [circuit.leaves.probs[v][:, x[:, v]] for v in range(4)]  # type: ignore[union-attr]
    left, right = (
        w.T @ (a * b) for w, a, b in zip(circuit.weights[0], (p[0], p[2]), (p[1], p[3]), strict=True)
    )
    direct = circuit.weights[1][0, :, 0] @ (left * right)
    torch.testing.assert_close(log_prob(circuit, x), direct.log(), rtol=0, atol=EXACT)


def test_a_hidden_tree_sums_over_its_hidden_states() -> None:
    gen = torch.Generator().manual_seed(4)
    graph = hidden_tree([-1, 0, 1], 2)  # a chain: 0 above 1 above 2
    layout = Layout.of(graph)
    data = torch.randint(3, (20, 3), generator=gen)
    circuit = assemble(graph, Categorical.around(layout.variables, 2, data, 3, gen, own=0.9), gen)
    law = dict(zip(layout.variables.tolist(), circuit.leaves.probs, strict=True))  # type: ignore[union-attr]
    below, above, root = circuit.weights  # p(z2 | z1), p(z1 | z0), p(z0)
    x = states(3)
    direct = torch.zeros(len(x), dtype=F64)
    for a, b, c in itertools.product(range(2), repeat=3):
        path = root[0, a, 0] * above[0, b, a] * below[0, c, b]
        direct += path * law[0][a, x[:, 0]] * law[1][b, x[:, 1]] * law[2][c, x[:, 2]]
    torch.testing.assert_close(log_prob(circuit, x), direct.log(), rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_marginals_and_conditionals_are_sums_over_states(kind: str, seed: int) -> None:
    circuit, x = ternary(kind, 7, seed), states(7)
    joint = log_prob(circuit, x).exp()
    gen = torch.Generator().manual_seed(seed)
    value = torch.randint(3, (1, 7), generator=gen)
    known = torch.tensor([True, False, True, False, False, True, False])
    asked = torch.tensor([False, True, False, False, False, False, True])
    fits = lambda which: joint[((x == value) | ~which).all(1)].sum().log()  # noqa: E731
    assert log_prob(circuit, value, known).item() == pytest.approx(fits(known).item(), abs=EXACT)
    exact = fits(known | asked) - fits(known)
    assert conditional(circuit, value, asked, known).item() == pytest.approx(exact.item(), abs=EXACT)


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize(("variables", "seed"), [(10, 0), (6, 1), (6, 2)])
def test_soft_evidence_gives_the_posterior_of_every_variable(kind: str, variables: int, seed: int) -> None:
    circuit, x = ternary(kind, variables, seed), states(variables)
    gen = torch.Generator().manual_seed(seed)
    soft = 3 * torch.randn(2, variables, 3, generator=gen, dtype=F64)
    soft[:, 0, 1] = -torch.inf  # one value ruled out
    found = posterior(circuit, Likelihood(soft))
    evidence = torch.stack([sum(row[v, x[:, v]] for v in range(variables)) for row in soft])
    joint = log_prob(circuit, x) + evidence
    exact = torch.stack([joint.softmax(1) @ one_hot(x[:, v]) for v in range(variables)], 1)
    torch.testing.assert_close(found.log_evidence, joint.logsumexp(1), rtol=0, atol=EXACT)
    torch.testing.assert_close(found.beliefs.probs, exact, rtol=0, atol=EXACT)


def test_a_downward_pass_that_is_not_divided_by_its_totals_is_caught() -> None:
    circuit = ternary("regions", 4)
    soft = Likelihood(torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0), dtype=F64))
    up = circuit.up(soft)
    wrong = circuit.down(up._replace(totals=tuple(torch.ones_like(t) for t in up.totals))).leaves
    got = circuit.leaves.beliefs(up.leaves, wrong).probs  # type: ignore[union-attr]
    assert (got - posterior(circuit, soft).beliefs.probs).abs().max() > 0.01


def test_impossible_evidence_has_probability_zero_and_no_posterior_that_is_not_a_number() -> None:
    circuit = ternary("hidden", 4)
    soft = torch.zeros(1, 4, 3, dtype=F64)
    soft[:, 2] = -torch.inf
    found = posterior(circuit, Likelihood(soft))
    assert found.log_evidence.item() == -torch.inf
    assert found.beliefs.probs.isfinite().all()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", STRUCTURES)
def test_gaussian_leaves_marginalise_and_condition_like_their_density(kind: str) -> None:
    circuit = normal(kind, 3)
    x = torch.tensor([[0.3, -0.2, 0.5]], dtype=F64)
    # Integrate variable 1 out by the trapezoidal rule, which is exact to rounding for such smooth tails.
    line = torch.linspace(-12, 12, 4001, dtype=F64)
    points = x.repeat(len(line), 1)
    points[:, 1] = line
    exact = torch.trapezoid(log_prob(circuit, points).exp(), line).log()
    known = torch.tensor([True, False, True])
    assert log_prob(circuit, x, known).item() == pytest.approx(exact.item(), abs=EXACT)
    density = (log_prob(circuit, points) - exact).exp()
    mean = torch.trapezoid(density * line, line)
    var = torch.trapezoid(density * (line - mean) ** 2, line)
    found = posterior(circuit, circuit.leaves.observed(x, known)).beliefs
    assert found.mean[0, 1].item() == pytest.approx(mean.item(), abs=EXACT)  # type: ignore[index]
    assert found.var[0, 1].item() == pytest.approx(var.item(), abs=EXACT)  # type: ignore[index]
    torch.testing.assert_close(found.mean[0, known], x[0, known], rtol=0, atol=1e-14)  # type: ignore[index]
    assert found.var[0, known].abs().max() < 1e-14  # type: ignore[index]


def test_a_circuit_of_the_ring_is_its_exact_denoiser() -> None:
    ring = ring8()
    law = Gaussian(torch.arange(2), ring.means.T.contiguous(), torch.full((2, 8), 0.05, dtype=F64).sqrt())
    circuit = assemble(mixture(2, 8), law, torch.Generator().manual_seed(0))
    circuit = type(circuit)(circuit.layout, (ring.weights[None, :, None],), law)
    x = 2 * torch.randn(20, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    alpha, sigma = 0.8, 0.6
    torch.testing.assert_close(log_prob(circuit, x), ring.log_prob(x), rtol=0, atol=EXACT)
    found = posterior(circuit, diffused(circuit, x, alpha, sigma))
    torch.testing.assert_close(found.beliefs.mean, ring.denoise(x, alpha, sigma), rtol=0, atol=EXACT)
    cov = ring.posterior_cov(x, alpha, sigma)
    torch.testing.assert_close(found.beliefs.var, torch.diagonal(cov, dim1=1, dim2=2), rtol=0, atol=EXACT)
    # N(x; alpha x0, sigma^2) is N(x / alpha; x0, (sigma / alpha)^2) / alpha in each of two dimensions.
    exact = ring.log_prob(x, alpha, sigma) + 2 * torch.tensor(alpha).log()
    torch.testing.assert_close(found.log_evidence, exact, rtol=0, atol=1e-6)


def test_a_noisy_state_weighs_the_codes_of_categories() -> None:
    circuit, x = ternary("hidden", 5), states(5)
    code = torch.tensor([-1.0, 0.2, 1.0], dtype=F64)
    noisy = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    alpha, sigma = torch.tensor([0.9, 0.7, 0.3], dtype=F64), torch.tensor([0.2, 0.7, 2.0], dtype=F64)
    known = torch.tensor([False, True, False, False, False])
    clean = torch.tensor([0, 2, 0, 0, 0])
    given = circuit.leaves.observed(clean[None])
    evidence = diffused(circuit, noisy, alpha, sigma, codebook=code, known=given, where=known)
    found = posterior(circuit, evidence)
    gap = (noisy[:, None] - alpha[:, None, None] * code[x]) / sigma[:, None, None]
    joint = log_prob(circuit, x) - (gap.square() / 2)[..., ~known].sum(2)
    joint = joint.masked_fill(x[:, 1] != 2, -torch.inf)
    exact = torch.stack([joint.softmax(1) @ one_hot(x[:, v]) for v in range(5)], 1)
    torch.testing.assert_close(found.beliefs.probs, exact, rtol=0, atol=EXACT)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_draws_follow_the_posterior(kind: str) -> None:
    circuit, x, n = ternary(kind, 4), states(4), 20_000
    soft = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    drawn = draw(circuit, Likelihood(soft.expand(n, 4, 3)), torch.Generator().manual_seed(0)).long()
    joint = (log_prob(circuit, x) + sum(soft[v, x[:, v]] for v in range(4))).softmax(0)
    found = torch.bincount(drawn @ torch.tensor([27, 9, 3, 1]), minlength=81) / n
    # 4 standard errors of a frequency, sqrt(p (1 - p) / n), and half a count.
    assert ((found - joint).abs() <= 4 * (joint * (1 - joint) / n).sqrt() + 0.5 / n).all()


def test_a_gaussian_circuit_draws_what_its_moments_say() -> None:
    circuit, n = normal("regions", 3), 20_000
    reading = Reading(
        torch.tensor([[0.5, 0.0, -0.3]], dtype=F64), torch.tensor([[0.4, torch.inf, 0.0]], dtype=F64)
    )
    exact = posterior(circuit, reading).beliefs
    drawn = draw(circuit, Reading(*(e.expand(n, 3) for e in reading)), torch.Generator().manual_seed(0))
    error = (exact.var / n).sqrt()  # type: ignore[operator]
    assert ((drawn.mean(0) - exact.mean).abs() <= 4 * error + 1e-12).all()
    torch.testing.assert_close(drawn.var(0)[None], exact.var, rtol=0.06, atol=1e-12)  # 4 s.e. of a variance


def test_each_sample_depends_on_its_own_seed_only() -> None:
    circuit = ternary("regions", 5)
    both = draw(circuit, 3, Seeds([4, 5, 6]))
    assert torch.equal(both[1:2], draw(circuit, 1, Seeds([5])))


def test_five_hundred_variables_do_not_underflow_in_single_precision() -> None:
    circuit = ternary("hidden", 500, width=2)
    x = torch.randint(3, (4, 500), generator=torch.Generator().manual_seed(0))
    exact, single = log_prob(circuit, x), log_prob(circuit.to(torch.float32), x)
    assert exact.max() < -400  # e^-400 is far below what single precision can hold
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=0)


def test_wrong_questions_are_named() -> None:
    circuit = ternary("mixture", 3)
    both = torch.tensor([True, False, False])
    with pytest.raises(ConfigError, match="asked for and known"):
        conditional(circuit, states(3)[:1], both, both)
    with pytest.raises(DataError, match="categories 0 to 2, got 0 to 3"):
        log_prob(circuit, torch.tensor([[0, 3, 1]]))
    with pytest.raises(ConfigError, match="codebook"):
        diffused(circuit, torch.zeros(1, 3), 1.0, 1.0)
