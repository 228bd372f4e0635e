"""Energies where the answer is known: two tokens that match, enumerated texts, and a learned one."""

import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.density.tokens import exact_bound
from core.errors import ConfigError, ModelMismatch, NumericalError
from core.plan import uniform, unmask
from core.process import Masking
from core.run import sample
from core.state import Seeds
from core.train.samples import Batch, seeds_of
from domains.language.config import Generation
from domains.language.correction import corrected
from domains.language.energy import CausalEnergy, PairEnergy, log_proposal, masked_of
from domains.language.energy_bounds import energy_bound, log_normaliser, sampler_bound
from domains.language.energy_training import Contrast, accuracy, energy_of, load_energy, train_energy
from domains.language.generation import generate
from domains.language.networks import causal_nats
from domains.language.streams import Blocks, BlockSamples
from domains.language.tokenizer import train_tokenizer
from domains.language.training import TextSamples
from tests.domains.language.models import random_model

ABC = train_tokenizer("char", ["abc"], ends=False)
MODEL = random_model(ABC)
CAUSAL = random_model(ABC, kind="causal")
SMALL = random_model(ABC, length=16, net={"width": 32, "depth": 1})
MASK, PAD = 3, 4
PAIR = Masking(2)
MATCH, UNKNOWN = 0.9, torch.full((3, 2), 2)


@dataclass(frozen=True)
class Coins:
    """The factorised predictor of two tokens: each even, whatever the other one is."""

    process: Masking = PAIR

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(logits=torch.zeros(*x.shape, 2, dtype=torch.float64))


@dataclass(frozen=True)
class Matching:
    """E of the toy: the joint law has the two tokens equal with probability `match`."""

    sign: float = 1.0
    match: float = MATCH
    normalised: bool = False

    def __call__(self, x0: Tensor, x: Tensor, log_q: Tensor | None = None) -> Tensor:
        joint = torch.where(x0[:, 0] == x0[:, 1], self.match / 2, (1 - self.match) / 2).double()
        masks = (x == 2).sum(1)
        rest = torch.where(masks == 2, joint, torch.where(masks == 1, 2 * joint, 1.0))
        return self.sign * (-masks * math.log(2) - rest.log())


def match_rate(k: int, energy: Matching, calls: int = 350) -> float:
    """Share of equal tokens when both are revealed at once, at batch size 3."""
    gen = torch.Generator().manual_seed(k)
    model = corrected(Coins(), energy, candidates=k, window=1.0, gen=gen)
    every = torch.ones(3, 2, dtype=torch.bool)
    drawn = torch.cat([model(UNKNOWN, 1.0).at(every).argmax(1).reshape(3, 2) for _ in range(calls)])
    return float((drawn[:, 0] == drawn[:, 1]).double().mean())


def expected_rate(k: int, sign: float) -> float:
    """By the number of matching candidates, binomial; weights are .9 / .5 and .1 / .5 to the sign."""
    up, down = (MATCH / 0.5) ** sign, ((1 - MATCH) / 0.5) ** sign
    return sum(math.comb(k, m) / 2**k * m * up / (m * up + (k - m) * down) for m in range(k + 1))


@pytest.mark.parametrize(("k", "rate"), [(2, 0.70), (4, 0.83), (8, 0.88), (16, 0.89), (64, 0.90)])
def test_two_tokens_match_as_often_as_importance_sampling_says_at_batch_three(k: int, rate: float) -> None:
    assert expected_rate(k, 1.0) == pytest.approx(rate, abs=0.006)
    # 1050 draws: standard error .014 at a rate of .7.
    assert match_rate(k, Matching()) == pytest.approx(expected_rate(k, 1.0), abs=0.045)


@pytest.mark.parametrize(("k", "rate"), [(2, 0.30), (64, 0.10)])
def test_the_opposite_sign_drives_them_apart(k: int, rate: float) -> None:
    assert expected_rate(k, -1.0) == pytest.approx(rate, abs=0.006)
    found = match_rate(k, Matching(sign=-1.0))
    assert found == pytest.approx(rate, abs=0.045)
    assert abs(found - expected_rate(k, 1.0)) > 0.3


def test_each_row_keeps_a_candidate_of_its_own() -> None:
    """Visible tokens stay, and rows do not exchange candidates: the fault of a reshape right for one row."""
    x = torch.tensor([[0, 2], [1, 2], [2, 2]])
    sure = Matching(match=1 - 1e-12)
    model = corrected(Coins(), sure, candidates=16, window=1.0, gen=torch.Generator().manual_seed(0))
    for _ in range(20):
        drawn = model(x, 0.5).logits.argmax(-1)
        assert drawn[:2].tolist() == [[0, 0], [1, 1]]
        assert drawn[2, 0] == drawn[2, 1]


def test_one_candidate_and_a_closed_window_leave_the_predictor_as_it_is() -> None:
    assert match_rate(1, Matching()) == pytest.approx(0.5, abs=0.05)
    model = corrected(Coins(), Matching(), window=0.2, gen=torch.Generator().manual_seed(0))
    early, late = model(UNKNOWN, 0.79), model(UNKNOWN, 0.8)
    assert torch.equal(early.logits, Coins()(UNKNOWN, 1.0).logits)
    assert bool(late.logits.isneginf().any())
    mixed = model(UNKNOWN, torch.tensor([0.1, 0.9, 0.1])).logits.isneginf().flatten(1).any(1)
    assert mixed.tolist() == [False, True, False]


def test_a_run_ends_with_the_joint_law_at_any_number_of_steps() -> None:
    plan = unmask(PAIR, uniform(PAIR, 2))
    model = corrected(Coins(), Matching(), candidates=64, window=1.0, gen=torch.Generator().manual_seed(1))
    x = sample(plan, model, torch.full((4000, 2), 2), torch.Generator().manual_seed(2))
    # 4000 draws: standard error .005; the predictor alone stays at .5.
    assert float((x[:, 0] == x[:, 1]).double().mean()) == pytest.approx(MATCH, abs=0.025)


def completions(x: Tensor) -> Tensor:
    """All texts that agree with the visible tokens of one row, (3^m, L)."""
    where = (x == MASK).nonzero()[:, 0].tolist()
    texts = []
    for values in itertools.product(range(3), repeat=len(where)):
        row = x.clone()
        row[where] = torch.tensor(values)
        texts.append(row)
    return torch.stack(texts)


@pytest.mark.parametrize("row", [[3, 3, 3, 3], [0, 3, 3, 2], [3, 1, 3, 3], [2, 3, 1, 3]])
def test_the_carried_over_energy_is_normalised(row: list[int]) -> None:
    texts = completions(torch.tensor(row))
    x = torch.tensor([row]).expand(len(texts), -1)
    log_q = log_proposal(MODEL.denoiser, texts, x)
    assert float(log_q.logsumexp(0)) == pytest.approx(0, abs=1e-5)
    carried = CausalEnergy(CAUSAL.net, MODEL.denoiser, carry=True)
    assert float((log_q - carried(texts, x)).logsumexp(0)) == pytest.approx(0, abs=1e-5)
    # Over all positions it is not: then log Z is the causal probability of the visible tokens.
    plain = CausalEnergy(CAUSAL.net, MODEL.denoiser)
    log_z = float((log_q - plain(texts, x)).logsumexp(0))
    evidence = float((-causal_nats(CAUSAL.net, texts)).logsumexp(0))
    assert log_z == pytest.approx(evidence, abs=1e-5)
    assert (abs(log_z) > 0.1) == (MASK not in set(row) or row != [3, 3, 3, 3])


def test_padding_and_company_do_not_change_an_energy() -> None:
    energies: list[Any] = [CausalEnergy(CAUSAL.net, MODEL.denoiser), learned()]
    x = torch.tensor([[3, 1, 3]])
    x0 = torch.tensor([[2, 1, 0]])
    padded = torch.tensor([[PAD, PAD, 3, 1, 3], [0, 1, 3, 1, 3]])
    texts = torch.tensor([[PAD, PAD, 2, 1, 0], [0, 1, 2, 1, 0]])
    for energy in energies:
        alone, beside = energy(x0, x), energy(texts, padded)
        assert float(beside[0]) == pytest.approx(float(alone[0]), abs=1e-4)
        assert abs(float(beside[1]) - float(alone[0])) > 1e-3


def learned() -> PairEnergy:
    torch.manual_seed(0)
    energy = PairEnergy.from_predictor(MODEL.denoiser).eval().requires_grad_(False)
    torch.nn.init.normal_(energy.score.weight)
    return energy


def test_the_carried_over_bound_is_the_causal_surprise_in_the_mean() -> None:
    x0 = torch.tensor([[0, 1, 2, 2, 1, 0, 0, 1]])
    energy = CausalEnergy(CAUSAL.net, MODEL.denoiser, carry=True)
    found = energy_bound(MODEL.denoiser, energy, x0, [3], draws=1500)
    exact = float(causal_nats(CAUSAL.net, x0)[0])
    assert torch.equal(found.low, found.high)
    assert found.label == "log Z = 0 exactly"
    print(f"coar {float(found.low[0]):.4f} +- {float(found.error[0]):.4f}, causal {exact:.4f}")
    assert float(found.low[0]) == pytest.approx(exact, abs=4 * float(found.error[0]) + 1e-4)
    plain = float(exact_bound(MODEL.denoiser, x0)[0])
    assert abs(plain - exact) > 8 * float(found.error[0])  # the predictor's own bound is another number


def test_the_two_estimates_bracket_log_z() -> None:
    gen = torch.Generator().manual_seed(0)
    energy = torch.randn(20_000, 8, generator=gen, dtype=torch.float64)  # log Z = 1/2
    low, high = log_normaliser(energy)
    error = float(high.std()) / 20_000**0.5
    print(f"T_n {float(low.mean()):.4f}, upper {float(high.mean()):.4f} +- {error:.4f}, exact .5")
    assert float(low.mean()) < 0.5 - 0.02
    assert float(high.mean()) > 0.5 + 3 * error
    shift = log_normaliser(energy + 2.0)
    assert torch.allclose(shift[0], low - 2)
    assert torch.allclose(shift[1], high - 2)


def test_more_proposals_close_the_bracket_of_the_bound() -> None:
    x0 = torch.tensor([[0, 1, 2, 2], [1, 1, 0, 2]])
    soft = []  # alike enough for two proposals to say something
    for kind in ("radd", "causal"):
        model = random_model(MODEL.tokenizer, config=MODEL.config.model_copy(update={"kind": kind}))
        assert model.net.weight is not None
        model.net.weight.mul_(0.2)
        model.net.bias.mul_(0.2)
        soft.append(model)
    predictor = soft[0].denoiser
    energy = CausalEnergy(soft[1].net, predictor)
    few, many = (
        energy_bound(predictor, energy, x0, [1, 2], draws=48, proposals=n, chunk=512) for n in (2, 32)
    )
    gaps = [float((found.high - found.low).mean()) for found in (few, many)]
    assert gaps[0] > 3 * gaps[1] > 0
    assert many.label == "bound=approximate, n=32"
    one = energy_bound(predictor, energy, x0[1:], [2], draws=48, proposals=32, chunk=7)
    assert float(one.low[0]) == pytest.approx(float(many.low[1]), rel=1e-5)


def test_the_published_integrand_lies_below_the_entropy_of_tokens_that_agree() -> None:
    """So it is no bound on -ln p(x0): half of ln 2 for a text that holds ln 2, with an exact energy."""
    sure = Matching(match=1 - 1e-15, normalised=True)
    found = energy_bound(Coins(), sure, torch.tensor([[0, 0]]), [1], draws=2000)
    assert float(found.low[0]) == pytest.approx(math.log(2) / 2, abs=0.01)


@pytest.mark.parametrize("match", [MATCH, 1 - 1e-12])
@pytest.mark.parametrize("text", [[0, 0], [1, 0]])
def test_one_token_at_a_time_pays_what_the_joint_law_says(match: float, text: list[int]) -> None:
    """An exact energy has the exact chain rule in every order, here over masks, tokens and proposals."""
    x0 = torch.tensor([text])
    exact = -math.log((match if text[0] == text[1] else 1 - match) / 2)
    found = sampler_bound(Coins(), Matching(match=match), x0, [1], draws=400, proposals=64, chunk=4096)
    error = float(found.error[0])
    if text[0] == text[1]:
        print(f"{float(found.low[0]):.4f} to {float(found.high[0]):.4f} +- {error:.4f}, exact {exact:.4f}")
        assert float(found.low[0]) - 4 * error <= exact <= float(found.high[0]) + 4 * error
        assert float(found.high[0] - found.low[0]) < 0.05
    else:  # a text that hardly ever is: its surprise is that of the rare law
        assert float(found.high[0]) > 2


def test_one_token_at_a_time_pays_the_surprise_of_a_joint_law_of_three() -> None:
    """E = ln q - ln p of a table p: every order gives -ln p(x0); the predictor alone gives 3 ln 2."""
    table = torch.tensor([8.0, 1, 1, 3, 1, 2, 1, 12]).double()
    table /= table.sum()

    class Table:
        normalised = False

        def __call__(self, x0: Tensor, x: Tensor, log_q: Tensor | None = None) -> Tensor:
            return -math.log(2) * (x == 2).sum(1) - table[(x0 * torch.tensor([4, 2, 1])).sum(1)].log()

    for text, exact in (([0, 0, 0], -math.log(8 / 29)), ([1, 0, 1], -math.log(2 / 29))):
        found = sampler_bound(
            Coins(), Table(), torch.tensor([text]), [4], draws=300, proposals=64, chunk=8192
        )
        low, high, error = float(found.low[0]), float(found.high[0]), float(found.error[0])
        print(f"{low:.3f} to {high:.3f} +- {error:.3f}, exact {exact:.3f}")
        assert low - 4 * error <= exact <= high + 4 * error
        assert 4 * error < abs(exact - 3 * math.log(2))


def test_a_text_is_corrected_alike_alone_and_in_company() -> None:
    energy = CausalEnergy(CAUSAL.net, MODEL.denoiser)
    steer = partial(corrected, energy=energy, candidates=3, window=1.0)
    for settings in (Generation(steps=5), Generation(steps=6, block_length=3)):
        together = generate(MODEL, [[0], [1, 2], [2]], new=6, settings=settings, seed=4, steer=steer)
        apart = settings.model_copy(update={"chunk": 1})
        assert generate(MODEL, [[0], [1, 2], [2]], new=6, settings=apart, seed=4, steer=steer) == together
    assert together != generate(MODEL, [[0], [1, 2], [2]], new=6, settings=settings, seed=4)


def test_seeds_are_drawn_by_the_row_that_the_state_names() -> None:
    x = torch.full((3, 4), MASK)
    energy = CausalEnergy(CAUSAL.net, MODEL.denoiser)
    make = partial(corrected, MODEL.denoiser, energy, window=1.0)
    whole = make(gen=Seeds([5, 6, 7]))({"tokens": x}, 1.0).logits
    part = make(gen=Seeds([5, 6, 7]))({"tokens": x[1:], "row": torch.tensor([1, 2])}, 1.0).logits
    assert torch.equal(whole[1:], part)
    with pytest.raises(ConfigError, match="does not say which"):
        make(gen=Seeds([5, 6, 7]))({"tokens": x[1:]}, 1.0)
    with pytest.raises(ConfigError, match="source of randomness"):
        make()(x, 1.0)
    steer = partial(corrected, energy=energy, window=1.0)
    cached = Generation(steps=4, block_length=2, cache="prefix")
    with pytest.raises(ConfigError, match="reads whole texts"):
        generate(MODEL, [[0]], new=4, settings=cached, steer=steer)


def test_corrected_texts_are_likelier_under_the_causal_model() -> None:
    energy = CausalEnergy(CAUSAL.net, MODEL.denoiser)
    scores = []
    for k in (1, 8):
        steer = partial(corrected, energy=energy, candidates=k, window=1.0)
        made = generate(MODEL, [[]] * 80, new=8, settings=Generation(steps=3, chunk=80), steer=steer)
        scores.append(-causal_nats(CAUSAL.net, torch.tensor([text.ids for text in made])))
    error = math.hypot(*(float(s.std()) / 80**0.5 for s in scores))
    gain = float(scores[1].mean() - scores[0].mean())
    print(f"gain {gain:.2f} nats, standard error {error:.2f}")
    assert gain > 4 * error


def pairs_blocks(count: int, seed: int) -> Blocks:
    """Texts of 16 tokens, each twice in a row; a predictor at heavy noise draws both on their own."""
    gen = torch.Generator().manual_seed(seed)
    first = torch.randint(3, (count, 8), generator=gen)
    return Blocks(first.repeat_interleave(2, 1).reshape(-1).numpy(), 16, None, PAD)


def test_a_fresh_energy_is_zero_and_training_learns_to_tell_texts_apart(tmp_path: Any) -> None:
    samples = TextSamples(BlockSamples(pairs_blocks(64, 1)))
    torch.manual_seed(0)
    fresh = PairEnergy.from_predictor(SMALL.denoiser)
    batch = Batch(samples(range(4), 0).x0)
    loss = Contrast(SMALL.denoiser)(fresh, batch, seeds_of(range(4), 0, "noise"))
    assert torch.allclose(loss, torch.full_like(loss, 2 * math.log(2)))
    assert accuracy(fresh, SMALL.denoiser, samples) == 0.5
    held = pairs_blocks(64, 2)
    energy, checkpoint = train_energy(
        pairs_blocks(256, 1),
        SMALL,
        steps=40,
        batch=16,
        lr=2e-3,
        ema=0.9,
        held=held,
        folder=tmp_path,
        every=20,
    )
    told = accuracy(energy, SMALL.denoiser, TextSamples(BlockSamples(held)), count=128)
    print(f"told apart {told:.3f}")
    assert told > 0.7
    assert [step for step, _ in checkpoint.training["energy"]["accuracy"]] == [20, 40]
    assert len((tmp_path / "accuracy.jsonl").read_text().splitlines()) == 2
    again = load_energy(tmp_path, SMALL)
    x0, x = held.rows([0, 1]), held.rows([0, 1]).copy()
    x[:, ::2] = MASK
    pair = torch.from_numpy(x0), torch.from_numpy(x)
    assert torch.equal(again(*pair), energy(*pair))
    other = random_model(train_tokenizer("char", ["abd"], ends=False))
    with pytest.raises(ModelMismatch, match="another tokenizer"):
        energy_of(checkpoint, other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"candidates": 0}, "at least 1 candidate"),
        ({"window": 1.2}, r"window must lie in \[0, 1\]"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        corrected(Coins(), Matching(), **change)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="sees both ways"):
        CausalEnergy(MODEL.net, MODEL.denoiser)
    with pytest.raises(ConfigError, match="9 tokens, the predictor 3"):
        CausalEnergy(
            random_model(train_tokenizer("char", ["abcdefghi"], ends=False), kind="causal").net,
            MODEL.denoiser,
        )
    with pytest.raises(ConfigError, match="predictor of masked text"):
        PairEnergy.from_predictor(CAUSAL.denoiser)
    with pytest.raises(ConfigError, match="at least 2 proposals"):
        energy_bound(Coins(), Matching(), torch.tensor([[0, 0]]), [1], proposals=1)
    broken = corrected(
        Coins(), lambda x0, x, log_q: x0[:, 0] * math.nan, gen=torch.Generator().manual_seed(0)
    )
    with pytest.raises(NumericalError, match="not a number"):
        broken(UNKNOWN, 1.0)
    assert masked_of({"tokens": UNKNOWN, "mask": UNKNOWN == 1}, 2).sum() == 0
