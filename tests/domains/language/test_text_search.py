"""Search, particles and guidance of the core on texts, and the verifiers, where the answer is known."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.density.tokens import exact_bound
from core.errors import ConfigError
from core.infer.search import METHODS, Search
from core.run import sample
from core.steer.compose import both
from core.steer.guidance import classifier_free
from domains.language.config import Generation
from domains.language.energy import PairEnergy
from domains.language.generation import canvas
from domains.language.networks import causal_nats
from domains.language.plans import plan_for
from domains.language.radd import TextModel
from domains.language.search import (
    Consistent,
    Holding,
    Judged,
    LogLikelihood,
    LowEnergy,
    Pattern,
    best_of,
    search_texts,
    steer_particles,
)
from domains.language.tokenizer import train_tokenizer
from tests.domains.language.models import random_model

ABC = train_tokenizer("char", ["abc"], ends=False)


def softened(kind: str) -> TextModel:
    """A model whose tokens all have a fair chance."""
    model = random_model(ABC, kind=kind, net={"width": 32, "depth": 1})
    assert model.net.weight is not None
    model.net.weight.mul_(0.3)
    model.net.bias.mul_(0.3)
    return model


MODEL, CAUSAL = softened("radd"), softened("causal")
JUDGE = LogLikelihood(CAUSAL.net)
F64 = torch.float64


def many_b(x: Any) -> Tensor:
    """How many tokens are b."""
    return (x["tokens"] == 1).sum(1).to(F64)


def free_texts(count: int, new: int, steps: int = 4) -> Tensor:
    tokens = torch.full((count, new), ABC.mask_id)
    plan = plan_for(MODEL.process, Generation(steps=steps), new)
    made: Tensor = sample(plan, MODEL.denoiser, tokens, torch.Generator().manual_seed(9))
    return made


@pytest.mark.parametrize("method", METHODS)
def test_every_search_writes_texts_that_the_verifier_likes(method: Any) -> None:
    settings = Search(method, 100)
    found = search_texts(
        MODEL, [[0, 2]] * 6, new=10, verifier=JUDGE, settings=settings, generation=Generation(steps=4)
    )
    tokens, free = canvas([[0, 2]] * 400, 10, MODEL)
    plan = plan_for(MODEL.process, Generation(steps=4), 10)
    start = {"tokens": tokens, "mask": free}
    usual = JUDGE(sample(plan, MODEL.denoiser, start, torch.Generator().manual_seed(9)))
    best = torch.tensor([float(text.found.scores[0, 0]) for text in found])
    assert float(best.mean()) > float(usual.mean() + 0.7 * usual.std())
    for text in found:
        assert text.found.calls <= 100
        assert text.found.x["tokens"][0, :2].tolist() == [0, 2]
        x0 = text.found.x["tokens"]
        state = {"tokens": x0, "mask": text.found.x["mask"]}
        assert float(text.found.scores[0, 0]) == pytest.approx(float(JUDGE(state)[0]), abs=1e-5)


def test_the_best_of_n_rises_with_n_and_the_second_verifier_is_beside_it() -> None:
    settings = Search("random", 32 * 5)
    found = search_texts(
        MODEL,
        [[]],
        new=10,
        verifier=JUDGE,
        second=many_b,
        settings=settings,
        generation=Generation(steps=4),
    )[0].found
    rows = best_of(found)
    assert [row.n for row in rows] == [1, 2, 4, 8, 16, 32]
    assert [row.evaluations for row in rows] == [5, 10, 20, 40, 80, 160]
    assert [row.score for row in rows] == sorted(row.score for row in rows)
    assert rows[-1].score == pytest.approx(float(found.scores[0, 0]))
    assert rows[-1].second == pytest.approx(float(many_b(found.x)[0]))


def test_a_prompt_is_searched_alike_whatever_stands_beside_it() -> None:
    settings, generation = Search("zero-order", 40), Generation(steps=4)
    both_ = search_texts(
        MODEL, [[0], [1, 1]], new=6, verifier=JUDGE, settings=settings, generation=generation
    )
    first = search_texts(MODEL, [[0]], new=6, verifier=JUDGE, settings=settings, generation=generation)
    assert both_[0].ids == first[0].ids


def test_a_pattern_is_found_where_a_plain_run_misses_it() -> None:
    wanted = Pattern("^ab.*b$", ABC)
    found = search_texts(
        MODEL,
        [[0]],
        new=6,
        verifier=wanted,
        settings=Search("random", 2 * 400),
        generation=Generation(steps=2),
    )[0]
    assert ABC.decode([0, *found.ids]).startswith("ab")
    assert ABC.decode(found.ids).endswith("b")
    assert float(found.found.scores[0, 0]) == 1.0


def test_particles_follow_the_tilted_law() -> None:
    """exp(r) of independent steps is known: weights reproduce E[b e^b] / E[e^b] of plain runs."""
    new, generation = 5, Generation(steps=3)
    plain = many_b({"tokens": free_texts(10_000, new, 3)})
    weight = plain.exp()
    exact = float((plain * weight).sum() / weight.sum())
    clouds = steer_particles(
        MODEL, [[]], new=new, verifier=many_b, particles=1500, generation=generation, seed=2
    )
    cloud = clouds[0].particles
    found = float(cloud.mean(many_b(cloud.x))[0])
    print(f"particles {found:.3f}, importance sampling {exact:.3f}, plain {float(plain.mean()):.3f}")
    # About 500 effective particles of deviation 1: standard error .045.
    assert found == pytest.approx(exact, abs=0.15)
    assert found > float(plain.mean()) + 0.3
    assert clouds[0].evaluations <= 2 * 3 * 1500


@pytest.mark.parametrize("kind", ["difference", "maximum", "total"])
def test_every_potential_raises_the_verifier(kind: Any) -> None:
    clouds = steer_particles(
        MODEL,
        [[0], [1]],
        new=8,
        verifier=many_b,
        particles=40,
        scale=2.0,
        kind=kind,
        generation=Generation(steps=4),
    )
    plain = float(many_b({"tokens": free_texts(500, 8)}).mean())
    for cloud in clouds:
        assert float(cloud.particles.mean(many_b(cloud.particles.x))[0]) > plain + 1
    alone = steer_particles(
        MODEL,
        [[0]],
        new=8,
        verifier=many_b,
        particles=40,
        scale=2.0,
        kind=kind,
        generation=Generation(steps=4),
    )
    assert alone[0].ids == clouds[0].ids


def test_guidance_and_composition_of_the_core_take_texts() -> None:
    """Two models multiply token by token, and guidance by w = 1 is the guided model itself."""
    other = random_model(ABC, net={"width": 16, "depth": 2}).denoiser
    x = torch.tensor([[3, 0, 3, 3]])
    mine, theirs = (torch.log_softmax(net(x, 1.0).logits, -1) for net in (MODEL.denoiser, other))
    product = both(MODEL.denoiser, other)
    assert torch.allclose(product(x, 1.0).logits, mine + theirs, atol=1e-5)
    guided = classifier_free(MODEL.denoiser, 2.0, unconditional=other)
    assert torch.allclose(guided(x, 1.0).logits, 2 * mine - theirs, atol=1e-5)
    plan = plan_for(MODEL.process, Generation(steps=4), 4)
    masks = torch.full((400, 4), 3)
    made = sample(plan, product, masks, torch.Generator().manual_seed(0))
    assert bool((made < 3).all())
    one = sample(plan, classifier_free(MODEL.denoiser, 1.0, unconditional=other), masks, generator())
    assert torch.equal(one, sample(plan, MODEL.denoiser, masks, generator()))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def test_verifiers_say_what_they_promise() -> None:
    x = torch.tensor([[0, 1, 2, 2], [2, 2, 0, 1]])
    whole = {"tokens": x, "mask": torch.ones_like(x, dtype=torch.bool)}
    assert torch.allclose(JUDGE(whole), -causal_nats(CAUSAL.net, x) / 4, atol=1e-5)
    last = {"tokens": x, "mask": torch.tensor([[False, False, False, True]]).expand(2, -1)}
    gap = causal_nats(CAUSAL.net, x) - causal_nats(CAUSAL.net, x[:, :3])
    assert torch.allclose(JUDGE(last), -gap, atol=1e-5)
    found = Consistent(MODEL.denoiser, draws=400)(whole)
    # 400 masks, spread over their sizes: standard error below .02 per token.
    assert torch.allclose(found, -exact_bound(MODEL.denoiser, x) / 4, atol=0.06)
    assert Consistent(MODEL.denoiser, draws=5).calls == 5
    assert Pattern("cc", ABC)(whole).tolist() == [1, 1]
    assert Pattern("cc$", ABC)(whole).tolist() == [1, 0]
    assert Holding(("ab", "ba", "ca", "bb"), ABC)(whole).tolist() == [0.25, 0.5]
    assert Judged(len, ABC)(whole).tolist() == [4, 4]
    torch.manual_seed(0)
    energy = PairEnergy.from_predictor(MODEL.denoiser).eval()
    torch.nn.init.normal_(energy.score.weight)
    with torch.no_grad():
        assert torch.equal(LowEnergy(energy)(whole), -energy(x, torch.full_like(x, 3)))


def test_texts_are_read_up_to_their_end() -> None:
    ends = train_tokenizer("char", ["abc"])
    assert ends.eos_id == 3
    x = {"tokens": torch.tensor([[0, 1, 3, 2, 2]]), "mask": torch.tensor([[False, True, True, True, True]])}
    assert Holding(("ab", "cc"), ends)(x).tolist() == [0.5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": Search("random", 3)}, "too small"),
        ({"generation": Generation(steps=4, block_length=2)}, "at once"),
        ({"generation": Generation(steps=4), "new": 0}, "at least 1 token"),
    ],
)
def test_what_cannot_be_searched_is_refused_first(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"new": 6, "verifier": many_b, "generation": Generation(steps=4), **change}
    with pytest.raises(ConfigError, match=words):
        search_texts(MODEL, [[0]], **given)


def test_verifiers_refuse_what_they_cannot_read() -> None:
    with pytest.raises(ConfigError, match="no regular expression"):
        Pattern("(", ABC)
    with pytest.raises(ConfigError, match="at least one string"):
        Holding((), ABC)
    with pytest.raises(ConfigError, match="unknown potential"):
        steer_particles(MODEL, [[0]], new=2, verifier=many_b, kind="sum")  # type: ignore[arg-type]
