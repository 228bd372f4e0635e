"""Losses of tokens against an exact oracle: every mask of five tokens enumerated."""

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import factorial, log

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.density.tokens import any_order_bound, exact_bound, order_nats
from core.errors import ConfigError
from core.process import VP, Masking, Survival, UniformTokens
from core.state import Seeds
from core.train import Batch
from core.train.token_loss import TokenLoss

D, V = 5, 3
PROCESS = Masking(V)


@cache
def table() -> Tensor:
    """A tabular model that need not be consistent: logits of each position for every masked state."""
    gen = torch.Generator().manual_seed(3)
    return torch.randn((V + 1,) * D + (D, V), generator=gen, dtype=torch.float64)


@dataclass(frozen=True)
class Tabular:
    process: Masking = PROCESS

    def __call__(self, x: Tensor, t: object, cond: object = None) -> Posterior:
        tokens = x["tokens"] if isinstance(x, dict) else x
        return Posterior(logits=table()[tuple(tokens.unbind(1))])


X0 = torch.tensor([[0, 2, 1, 1, 0]])


def oracle(x0: Tensor) -> float:
    """sum over masks M of (|M| - 1)! (D - |M|)! / D! sum over M of -ln q, written out."""
    total = 0.0
    for mask in product([False, True], repeat=D):
        m = sum(mask)
        if m:
            x = torch.where(torch.tensor(mask), V, x0[0])
            law = table()[tuple(x)].log_softmax(-1)
            surprise = -sum(float(law[i, x0[0, i]]) for i in range(D) if mask[i])
            total += factorial(m - 1) * factorial(D - m) / factorial(D) * surprise
    return total


@pytest.mark.parametrize("kind", ["lambda-dce", "ao", "t-dce", "t-dse"])
@pytest.mark.parametrize("stratified", [False, True])
def test_every_loss_estimates_the_enumerated_bound(kind: str, stratified: bool) -> None:
    n = 40_000
    loss = TokenLoss(kind, stratified=stratified)(  # type: ignore[arg-type]
        Tabular(), Batch(X0.expand(n, D)), torch.Generator().manual_seed(1)
    )
    # Four standard errors of independent draws (stratified ones have less); below eps = 1e-3 the time losses
    # leave out at most eps d ln 10.
    slack = 0.0 if kind in ("lambda-dce", "ao") else 1e-3 * D * log(10)
    assert float(loss.mean()) == pytest.approx(oracle(X0), abs=4 * float(loss.std()) / n**0.5 + slack)


def test_a_wrong_weight_is_noticed() -> None:
    n = 40_000
    loss = TokenLoss("ao")(Tabular(), Batch(X0.expand(n, D)), torch.Generator().manual_seed(1))
    # d / (k + 1) in place of d / k:
    assert abs(float(loss.mean()) * 0.8 - oracle(X0)) > 20 * float(loss.std()) / n**0.5


def test_score_entropy_of_a_normalised_law_is_the_weighted_surprise() -> None:
    batch = Batch(X0.expand(64, D))
    for process in (Masking(V), Masking(V, Survival("cosine")), Masking(V, Survival("geometric"))):
        dce = TokenLoss("t-dce")(Tabular(process), batch, Seeds(range(64)))
        dse = TokenLoss("t-dse")(Tabular(process), batch, Seeds(range(64)))
        assert torch.allclose(dse, dce, rtol=1e-5, atol=1e-9)


def test_the_published_offset_adds_variance_and_nothing_in_the_mean() -> None:
    n = 60_000
    losses = [
        TokenLoss("t-dce", offset=offset, stratified=False)(
            Tabular(), Batch(X0.expand(n, D)), torch.Generator().manual_seed(2)
        )
        for offset in (False, True)
    ]
    assert losses[1].std() > 1.5 * losses[0].std()
    gap = losses[1] - losses[0]
    # The integral of ln(alpha / (1 - alpha)) over [eps, 1] is not quite 0: eps ln(1 / eps) d.
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / n**0.5 + 1e-3 * log(1e3) * D * 2


def test_every_curve_of_survival_gives_one_bound() -> None:
    n = 40_000
    for curve in ("log-linear", "cosine", "polynomial"):
        process = Masking(V, Survival(curve, power=2.0))
        loss = TokenLoss("t-dce")(Tabular(process), Batch(X0.expand(n, D)), torch.Generator().manual_seed(5))
        assert float(loss.mean()) == pytest.approx(
            oracle(X0), abs=4 * float(loss.std()) / n**0.5 + 2e-3 * D * log(10)
        )


@pytest.mark.parametrize("curve", ["linear", "log-linear", "geometric", "cosine", "polynomial"])
def test_slopes_are_the_derivatives_of_the_curves(curve: str) -> None:
    survival = Survival(curve, power=1.7)  # type: ignore[arg-type]
    for t in (0.1, 0.5, 0.9):
        numeric = (survival.alpha(t + 1e-6) - survival.alpha(t - 1e-6)) / 2e-6
        assert survival.slope(t) == pytest.approx(numeric, rel=1e-6)
        tensor = survival.slope(torch.tensor([t], dtype=torch.float64))
        assert float(tensor) == pytest.approx(survival.slope(t), rel=1e-12)


def test_the_bound_is_the_enumerated_one_and_lies_above_no_order() -> None:
    assert float(exact_bound(Tabular(), X0)) == pytest.approx(oracle(X0), rel=1e-12)
    found = any_order_bound(Tabular(), X0.expand(400, D), list(range(400)), draws=32)
    error = float(found.nats.std()) / 400**0.5
    assert float(found.nats.mean()) == pytest.approx(oracle(X0), abs=4 * error)
    # The bound is the mean over all orders of the nats of one order.
    orders = [torch.randperm(D, generator=torch.Generator().manual_seed(i)) for i in range(400)]
    nats = torch.stack([order_nats(Tabular(), X0, order)[0] for order in orders])
    assert float(nats.mean()) == pytest.approx(oracle(X0), abs=4 * float(nats.std()) / 20)


def test_a_sequence_scores_the_same_in_every_batch_and_only_its_free_part() -> None:
    x0 = torch.randint(0, V, (7, D), generator=torch.Generator().manual_seed(0))
    once = any_order_bound(Tabular(), x0, list(range(7)), chunk=64).nats
    again = torch.cat([any_order_bound(Tabular(), x0[i : i + 1], [i], chunk=3).nats for i in range(7)])
    assert torch.allclose(once, again, atol=1e-12)
    free = torch.tensor([[False, False, False, True, False]]).expand(7, D)
    given = any_order_bound(Tabular(), {"tokens": x0, "mask": free}, list(range(7)))
    law = table()[tuple(torch.where(free, V, x0).unbind(1))].log_softmax(-1)
    assert torch.allclose(given.nats, -law[:, 3].gather(1, x0[:, 3:4])[:, 0], atol=1e-12)
    assert given.lengths.tolist() == [1] * 7


def test_the_rate_of_the_uniform_process_is_never_negative_and_zero_for_the_truth() -> None:
    noise = UniformTokens(V, Survival("log-linear"))

    @dataclass(frozen=True)
    class Knows:
        sharp: float
        process: UniformTokens = noise

        def __call__(self, x: Tensor, t: object, cond: object = None) -> Posterior:
            return Posterior(
                logits=self.sharp * torch.nn.functional.one_hot(X0.expand(len(x), D), V).double()
            )

    batch = Batch(X0.expand(500, D))
    truth = TokenLoss("rate")(Knows(800.0), batch, torch.Generator().manual_seed(0))
    assert float(truth.abs().max()) < 1e-9
    for sharp in (0.0, 2.0, -1.0):
        loss = TokenLoss("rate")(Knows(sharp), batch, torch.Generator().manual_seed(0))
        assert float(loss.min()) > -1e-12
        assert float(loss.mean()) > 0.1


def test_the_rate_is_the_entropy_for_the_law_given_the_other_tokens() -> None:
    # One token of law p. The plug-in step is exact when the network gives the law of x_0 from the other
    # tokens alone, here p itself; the posterior that looks at the noisy token too counts it twice.
    noise = UniformTokens(2, Survival("log-linear"))
    p = torch.tensor([0.8, 0.2], dtype=torch.float64)

    @dataclass(frozen=True)
    class One:
        looks: bool
        process: UniformTokens = noise

        def __call__(self, x: Tensor, t: Tensor, cond: object = None) -> Posterior:
            alpha = noise.alpha(t)[:, None, None]
            likelihood = alpha * torch.eye(2, dtype=torch.float64)[x] + (1 - alpha) / 2
            return Posterior(logits=((likelihood if self.looks else 1.0) * p).log().expand(len(x), 1, 2))

    n = 60_000
    x0 = (torch.rand(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) > 0.8).long()
    right, wrong = (
        TokenLoss("rate")(One(looks), Batch(x0), torch.Generator().manual_seed(0)) for looks in (False, True)
    )
    entropy = -float((p * p.log()).sum())
    # Four standard errors, and what the ends cut by eps are worth.
    assert float(right.mean()) == pytest.approx(entropy, abs=4 * float(right.std()) / n**0.5 + 0.01)
    assert float(wrong.mean()) > entropy + 0.1


def test_losses_refuse_other_processes() -> None:
    batch = Batch(X0)
    with pytest.raises(ConfigError, match="for Masking, got UniformTokens"):
        TokenLoss()(Tabular(UniformTokens(V)), batch, torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="for UniformTokens, got VP"):
        TokenLoss("rate")(Tabular(VP()), batch, torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown loss"):
        TokenLoss("dce")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one draw"):
        any_order_bound(Tabular(), X0, [0], draws=0)
