"""Rows of tokens: what they draw, how often they call the network, in which order they reveal."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from core.categorical import drawn
from core.denoise import Posterior, TokenPosterior
from core.errors import ConfigError
from core.plan import (
    Plan,
    TokenRow,
    expected_evaluations,
    first_hitting,
    redraw,
    remask,
    reveal_rows,
    uniform,
    unmask,
)
from core.process import Masking, Survival, UniformTokens
from core.reveal import evaluated, sureness
from core.run import sample, steps
from core.state import Seeds
from core.steer.tokens import Shape, hooked, prompted, shaped

V = 4
PROCESS = Masking(V)


@dataclass
class Counting:
    """A fixed law per position; counts the sequences it is called for and the rows its head computes."""

    logits: Tensor
    process: Masking = PROCESS
    rowwise: bool = True
    sequences: int = 0
    rows: int = 0
    log: list[int] = field(default_factory=list)

    def __call__(self, x: Tensor, t: object, cond: object = None) -> Posterior:
        tokens = x["tokens"] if isinstance(x, dict) else x
        self.sequences += len(tokens)
        self.log.append(len(tokens))

        def rows(where: Tensor) -> Tensor:
            self.rows += int(where.sum())
            return self.logits.expand(len(tokens), *self.logits.shape)[where]

        return TokenPosterior(rows, tokens.shape)


def flat(length: int) -> Counting:
    return Counting(torch.zeros(length, V))


@pytest.mark.parametrize(("n", "count"), [(32, 64), (256, 64), (1024, 16)])
def test_evaluations_follow_the_formula(n: int, count: int) -> None:
    length = 256
    plan = unmask(PROCESS, uniform(PROCESS, n))
    model = flat(length)
    sample(plan, model, PROCESS.prior(torch.zeros(count, length, dtype=torch.long)), Seeds(range(count)))
    expected = n * (1 - (1 - 1 / n) ** length)
    assert expected_evaluations(plan, length) == pytest.approx(expected, rel=1e-9)
    # The number of rows that reveal scatters by 3.1 % at n = 256, 2.0 % at 1024: standard errors .4 and .5 %.
    assert model.sequences / count == pytest.approx(expected, rel=0.02)
    assert model.rows == count * length  # the head runs once per token


def test_every_sequence_is_evaluated_where_it_reveals_and_nowhere_else() -> None:
    plan = unmask(PROCESS, uniform(PROCESS, 64))
    model, calls = flat(8), torch.zeros(5, dtype=torch.long)
    start = PROCESS.prior(torch.zeros(5, 8, dtype=torch.long))
    for step in steps(plan, model, start, Seeds(range(5))):
        calls += evaluated(step.row, step.x, step.next)
    assert int(calls.sum()) == model.sequences
    assert (calls <= 8).all()


def test_skipping_sequences_does_not_change_a_token() -> None:
    logits = torch.randn(16, V, generator=torch.Generator().manual_seed(0))
    plan = unmask(PROCESS, uniform(PROCESS, 40))
    start = PROCESS.prior(torch.zeros(6, 16, dtype=torch.long))
    fast, slow = Counting(logits), Counting(logits, rowwise=False)
    assert torch.equal(sample(plan, fast, start, Seeds(range(6))), sample(plan, slow, start, Seeds(range(6))))
    assert fast.sequences < slow.sequences


def test_reveal_rows_have_the_law_of_the_walk() -> None:
    for survival in (Survival(), Survival("cosine")):
        process = Masking(V, survival)
        plan = unmask(process, uniform(process, 10))
        free = torch.ones(4000, 5, dtype=torch.bool)
        free[:, 4] = False
        rows = reveal_rows(plan, free, torch.Generator().manual_seed(1))
        assert (rows[:, 4] == -1).all()
        expected = torch.tensor([float(process.alpha(r.s) - process.alpha(r.t)) for r in plan.rows])
        share = torch.bincount(rows[:, :4].flatten(), minlength=10) / 16_000
        # 16 000 positions: four standard errors of a share of at most .16.
        assert torch.allclose(share, expected, atol=4 * (0.16 * 0.84 / 16_000) ** 0.5)


def test_rare_tokens_are_drawn_at_their_rate_in_float64() -> None:
    rare, n = 1e-4, 4_000_000
    law = torch.tensor([1 - rare, rare], dtype=torch.float64)
    points = torch.rand(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = float((drawn(law.log().expand(n, 2), points) == 1).double().mean())
    assert share == pytest.approx(rare, abs=5 * (rare / n) ** 0.5)


def test_float32_noise_is_too_coarse_for_rare_tokens() -> None:
    """Gumbel draws compare p / E with E = -ln u; in float32 u stands on a grid of 2^-24 (here shown)."""
    u = torch.rand(1_000_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(u * 2**24, (u * 2**24).round())
    least = -torch.log(torch.tensor(1 - 2**-24, dtype=torch.float64))

    def share(r: float, p: float) -> float:
        """Rate at which a token of probability r p is drawn beside [MASK] of 1 - r, over r p."""
        noise = least * torch.arange(1, 200_000, dtype=torch.float64)
        return float((2**-24 * torch.exp(-noise * (1 - r) / (r * p))).sum() / (r * p))

    assert share(1e-3, 1e-3) == pytest.approx(0.97, abs=0.005)
    assert share(1e-3, 1e-5) == pytest.approx(0.015, abs=0.001)
    assert share(1 / 1024, 1e-6) < 1e-20


@pytest.mark.parametrize("order", ["random", "left", "right", "confidence", "margin", "entropy"])
def test_orders_reveal_their_share_and_end_without_masks(order: str) -> None:
    logits = torch.randn(12, V, generator=torch.Generator().manual_seed(1)) * torch.arange(12)[:, None]
    plan = unmask(PROCESS, uniform(PROCESS, 4), order=order)
    start = PROCESS.prior(torch.zeros(3, 12, dtype=torch.long))
    walk = steps(plan, Counting(logits), start, torch.Generator().manual_seed(0))
    left = [(step.next == V).sum(1).tolist() for step in walk]
    assert left == [[9] * 3, [6] * 3, [3] * 3, [0] * 3]
    first = next(iter(steps(plan, Counting(logits), start, torch.Generator().manual_seed(0)))).next[0] < V
    law = logits.double().softmax(-1)
    top = law.topk(2, -1).values
    best = {
        "left": -torch.arange(12.0),
        "right": torch.arange(12.0),
        "confidence": top[:, 0],
        "margin": top[:, 0] - top[:, 1],
        "entropy": (law * law.log()).sum(-1),
    }
    if order in best:
        assert set(first.nonzero()[:, 0].tolist()) == set(best[order].topk(3).indices.tolist())


def test_a_threshold_reveals_what_is_sure_and_at_least_one() -> None:
    logits = torch.zeros(6, V)
    logits[1, 0], logits[4, 2] = 9.0, 8.0
    plan = unmask(PROCESS, uniform(PROCESS, 8), order="confidence", threshold=0.9)
    there = [
        int((step.next < V).sum())
        for step in steps(
            plan, Counting(logits), PROCESS.prior(torch.zeros(1, 6).long()), torch.Generator().manual_seed(0)
        )
    ]
    assert there[:5] == [2, 3, 4, 5, 6]
    assert sureness(logits, "confidence")[1] > 0.99


def test_first_hitting_reveals_one_token_per_evaluation() -> None:
    model = flat(9)
    x = {"tokens": torch.zeros(2, 9).long(), "mask": torch.ones(2, 9, dtype=torch.bool)}
    x["mask"][1, 5:] = False
    start = PROCESS.prior(x)
    end = sample(first_hitting(PROCESS, 9), model, start, torch.Generator().manual_seed(0))
    assert model.sequences == 9 + 5
    assert (end["tokens"][1, 5:] == 0).all()
    assert (end["tokens"] < V).all()


def test_prompts_are_never_touched_by_any_plan() -> None:
    gen = torch.Generator().manual_seed(7)
    times = uniform(PROCESS, 12)
    plans = [
        *(unmask(PROCESS, times, order=order) for order in ("each", "random", "left", "confidence")),
        *(remask(PROCESS, times, kind, eta=0.3) for kind in ("cap", "rescale", "conf", "loop")),
        first_hitting(PROCESS, 10),
    ]
    tokens = torch.randint(0, V, (112, 10), generator=gen)
    free = torch.rand(112, 10, generator=gen) < 0.5
    start = PROCESS.prior({"tokens": tokens, "mask": free})
    assert torch.equal(start["tokens"] == V, free)
    for plan in plans:  # 9 plans of 112 patterns: 1008 random patterns of holes
        end = sample(plan, flat(10), start, gen)["tokens"]
        assert torch.equal(end[~free], tokens[~free])
        assert (end < V).all()


def test_remasking_keeps_the_marginal_number_of_masks() -> None:
    length, count = 50, 400
    for kind, eta in (("cap", 0.1), ("rescale", 0.5)):
        plan = remask(PROCESS, uniform(PROCESS, 20), kind, eta=eta)  # type: ignore[arg-type]
        start = PROCESS.prior(torch.zeros(count, length).long())
        for step in steps(plan, flat(length), start, torch.Generator().manual_seed(0)):
            share = float((step.next == V).double().mean())
            # 20 000 tokens: four standard errors of a share, about the process's own 1 - alpha.
            assert share == pytest.approx(step.row.s, abs=4 * (0.25 / (count * length)) ** 0.5 + 1e-9)
        hidden = sum(row.remask for row in plan.rows)  # type: ignore[union-attr]
        assert hidden > 0.5


def test_conf_hides_unsure_tokens_more_often() -> None:
    logits = torch.zeros(2, V)
    logits[0, 0] = 6.0
    row = TokenRow(0.5, 0.4, 0.0, 1.0, V, weigh=True)
    plan = Plan("conf", (TokenRow(1.0, 0.5, 1.0, 0.0, V, weigh=True), row))
    end = sample(plan, Counting(logits), torch.full((4000, 2), V), torch.Generator().manual_seed(0))
    share = (end == V).double().mean(0)
    # Sure tokens have p = .99, unsure ones .25: softmax of minus both.
    expected = torch.tensor([-0.9926, -0.25]).softmax(0)
    assert share.tolist() == pytest.approx(expected.tolist(), abs=0.04)


def test_the_uniform_process_backwards_reaches_the_law_of_its_denoiser() -> None:
    noise = UniformTokens(3, Survival("log-linear"))
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)

    @dataclass(frozen=True)
    class One:
        """The law of a token given the others (p), or given its own noisy value as well."""

        looks: bool
        process: UniformTokens = noise

        def __call__(self, x: Tensor, t: float, cond: object = None) -> Posterior:
            alpha = noise.alpha(t)
            like = alpha * torch.eye(3, dtype=torch.float64)[x] + (1 - alpha) / 3
            return Posterior(logits=((like if self.looks else torch.ones_like(like)) * p).log())

    gen = torch.Generator().manual_seed(0)
    for form, looks, right in (
        ("mixture", True, True),
        ("plug-in", False, True),
        ("plug-in", True, False),
    ):
        plan = redraw(noise, uniform(noise, 100), form)  # type: ignore[arg-type]
        end = sample(plan, One(looks), noise.prior(torch.zeros(10_000, 2).long(), gen), gen)
        share = torch.bincount(end.flatten(), minlength=3).double() / 20_000
        # Four standard errors; 100 steps of the plug-in form are .5 % off the limit.
        assert torch.allclose(share, p, atol=4 * (0.24 / 20_000) ** 0.5 + 0.005) == right


def test_posteriors_are_laws_and_join_to_the_forward_process() -> None:
    x0 = torch.tensor([[1]])
    for process in (Masking(3, Survival("cosine")), UniformTokens(3, Survival("cosine"))):
        size = 3 + (type(process) is Masking)
        sure = torch.nn.functional.one_hot(x0, 3).double()
        t, s = 0.7, 0.4

        def forward(time: float, process=process, size=size) -> Tensor:
            law = torch.zeros(size, dtype=torch.float64)
            alpha = process.alpha(time)
            if size == 4:
                law[1], law[3] = alpha, 1 - alpha
            else:
                law += (1 - alpha) / 3
                law[1] += alpha
            return law

        # sum over x_t of q(x_t | x_0) q(x_s | x_t, x_0) is q(x_s | x_0).
        total = torch.zeros(size, dtype=torch.float64)
        for state in range(size):
            total += forward(t)[state] * process.posterior(torch.tensor([[state]]), sure, s, t)[0, 0]
        assert torch.allclose(total, forward(s), atol=1e-12)


def test_shapes_bend_laws_as_they_say() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    assert Shape(temperature=0)(logits).softmax(-1).tolist() == [[1, 0, 0, 0]]
    assert torch.isfinite(Shape(top_k=2)(logits)).tolist() == [[True, True, False, False]]
    # Probabilities .644 .237 .087 .032.
    assert torch.isfinite(Shape(top_p=0.7)(logits)).tolist() == [[True, True, False, False]]
    assert torch.isfinite(Shape(top_p=0.6)(logits)).tolist() == [[True, False, False, False]]
    assert torch.isfinite(Shape(min_p=0.2)(logits)).tolist() == [[True, True, False, False]]
    assert torch.isfinite(Shape(banned=(0,))(logits)).tolist() == [[False, True, True, True]]
    assert torch.allclose(Shape(temperature=2)(logits), logits / 2)
    model = shaped(Counting(logits.expand(3, V)), Shape(repetition=2.0))
    x = torch.tensor([[0, V, V]])
    assert model(x, 0.5).at(x == V).tolist() == [[1.0, 1.0, 0.0, -1.0]] * 2
    assert shaped(model, Shape()) is model
    with pytest.raises(ConfigError, match="top_p must lie"):
        Shape(top_p=0.0)


def test_prompt_guidance_weighs_what_the_prompt_changes() -> None:
    def rows(x: dict[str, Tensor], where: Tensor) -> Tensor:
        seen = (x["tokens"] == 1).any(1)[:, None, None].double() * torch.eye(V)[2]
        return seen.expand(*x["tokens"].shape, V)[where]

    @dataclass(frozen=True)
    class Prompted:
        process: Masking = PROCESS

        def __call__(self, x: dict[str, Tensor], t: object, cond: object = None) -> Posterior:
            return TokenPosterior(lambda where: rows(x, where), x["tokens"].shape)

    x = {"tokens": torch.tensor([[1, V]]), "mask": torch.tensor([[False, True]])}
    at = x["mask"]
    told, plain = (out.log_softmax(-1) for out in (Prompted()(x, 0.5).at(at), torch.zeros(1, V)))
    found = prompted(Prompted(), 1.5)(x, 0.5).at(at)
    assert torch.allclose(found, told + 1.5 * (told - plain.double()))
    assert prompted(Prompted(), 0.0) == Prompted()
    forced = hooked(Prompted(), lambda t, x, logits, where: logits.index_fill(1, torch.tensor([0]), 99.0))
    assert forced(x, 0.5).at(at).argmax(-1).tolist() == [0]


def test_padding_and_prompts_do_not_change_what_a_sequence_draws() -> None:
    plan = unmask(PROCESS, uniform(PROCESS, 6))
    logits = torch.randn(V, generator=torch.Generator().manual_seed(0))
    alone = PROCESS.prior({"tokens": torch.zeros(1, 5).long(), "mask": torch.ones(1, 5, dtype=torch.bool)})
    tokens = torch.cat([torch.full((1, 3), V + 1), alone["tokens"]], 1)
    padded = {"tokens": tokens, "mask": torch.cat([torch.zeros(1, 3, dtype=torch.bool), alone["mask"]], 1)}
    ends = [
        sample(plan, Counting(logits.expand(n, V)), x, Seeds([4]))["tokens"]
        for x, n in ((alone, 5), (padded, 8))
    ]
    assert torch.equal(ends[0], ends[1][:, 3:])


def test_plans_of_tokens_refuse_what_is_out_of_range() -> None:
    times = uniform(PROCESS, 3)
    for build, words in (
        (lambda: unmask(PROCESS, times, order="best"), "unknown order"),
        (lambda: unmask(PROCESS, times, threshold=0.5), "goes with the order 'confidence'"),
        (lambda: unmask(PROCESS, times, order="confidence", threshold=1.0), "threshold must lie"),
        (lambda: remask(PROCESS, times, eta=2.0), "eta must lie"),
        (lambda: remask(PROCESS, times, "some"), "unknown remasking"),  # type: ignore[arg-type]
        (lambda: remask(PROCESS, times, "loop", window=(0.1, 0.5)), "window runs from"),
        (lambda: first_hitting(PROCESS, 0), "at least one token"),
        (lambda: expected_evaluations(remask(PROCESS, times, eta=0.1), 5), "more than its shares"),
        (lambda: redraw(UniformTokens(3), [1.0, 0.0], "other"), "unknown form"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=words):
            build()
