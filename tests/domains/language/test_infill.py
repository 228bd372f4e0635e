"""Holes: what is given stays, the best length wins, ties go to the shorter."""

import pytest
import torch

from core.density.tokens import any_order_bound
from core.errors import ConfigError
from domains.language.config import Generation
from domains.language.holes import parse_holes
from domains.language.infill import DRAWS, infill
from tests.domains.language.models import random_model

MODEL = random_model()


@pytest.mark.parametrize("plan", ["unmask", "first-hitting", "cap", "conf"])
def test_what_is_given_stays_and_holes_get_their_lengths(plan: str) -> None:
    texts = [parse_holes("ab[[3]]cd"), parse_holes("[[2]]gh[[1]]")]
    found = infill(MODEL, texts, settings=Generation(plan=plan, steps=6))
    first, second = (MODEL.tokenizer.decode(f.ids) for f in found)
    assert found[0].lengths == (3,)
    assert MODEL.tokenizer.decode(found[0].ids[:2]) == "ab"
    assert MODEL.tokenizer.decode(found[0].ids[5:]) == "cd"
    assert MODEL.tokenizer.decode(found[1].ids[2:4]) == "gh"
    assert len(found[0].ids) == 7
    assert first
    assert second
    assert MODEL.tokenizer.mask_id not in (*found[0].ids, *found[1].ids)


def test_the_length_of_least_nats_per_token_is_kept() -> None:
    pieces = parse_holes("abc[[1:4]]ef")
    best = infill(MODEL, [pieces], settings=Generation(steps=4), seed=2)[0]
    assert best.tried == 4
    scores = {}
    for n in range(1, 5):
        one = infill(MODEL, [parse_holes(f"abc[[{n}]]ef")], settings=Generation(steps=4), seed=2)[0]
        scores[one.nats_per_token] = n
        free = torch.zeros(1, len(one.ids), dtype=torch.bool)
        free[0, 3 : 3 + n] = True
        state = {"tokens": torch.tensor([one.ids]), "mask": free}
        bound = any_order_bound(MODEL.denoiser, state, [0], draws=DRAWS)
        assert one.nats_per_token == pytest.approx(float(bound.nats) / n, abs=1e-5)
    assert best.lengths == (scores[min(scores)],)
    assert best.nats_per_token == pytest.approx(min(scores), abs=1e-5)


def test_a_text_is_filled_the_same_whatever_is_beside_it() -> None:
    texts = [parse_holes("ab[[2:3]]"), parse_holes("c[[1:2]]d[[2]]")]
    both = infill(MODEL, texts, settings=Generation(steps=4), seed=5)
    assert infill(MODEL, texts[:1], settings=Generation(steps=4), seed=5)[0] == both[0]


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="bidirectional"):
        infill(random_model(kind="causal"), [parse_holes("a[[1]]")])
    with pytest.raises(ConfigError, match="filled at once"):
        infill(MODEL, [parse_holes("a[[1]]")], settings=Generation(block_length=2))
    with pytest.raises(ConfigError, match="the model takes 32"):
        infill(MODEL, [parse_holes("a[[40]]")])
