"""Writing: prompts, padding, blocks, caches, all against the run that needs none of them."""

import pytest
import torch

from core.errors import ConfigError, DataError
from core.state import Seeds
from domains.language.config import Generation
from domains.language.generation import canvas, fill_canvas, generate
from tests.domains.language.models import random_model

MODEL = random_model()
BLOCKY = random_model(block=4)
CAUSAL = random_model(kind="causal")


@pytest.mark.parametrize("order", ["random", "left", "confidence", "entropy"])
def test_a_text_is_the_same_alone_and_beside_longer_prompts(order: str) -> None:
    # Without a prompt all masks are equally sure, and rounding would decide: nothing to compare.
    prompts = [[1, 2, 3, 4, 5], [2], [3, 4]] + ([[]] if order in ("random", "left") else [])
    settings = Generation(steps=6, order=order)
    together = generate(MODEL, prompts, new=8, settings=settings, seed=3)
    for i, prompt in enumerate(prompts):
        tokens, free = canvas([prompt], 8, MODEL)
        alone, _ = fill_canvas(MODEL, tokens, free, settings, Seeds([_seed(3, i)]))
        assert _cut(alone[0, len(prompt) :].tolist()) == list(together[i].ids)
        assert together[i].prompt == tuple(prompt)


def _seed(seed: int, i: int) -> int:
    from core.train import mixed_seed

    return mixed_seed(seed, "text", i)


def _cut(ids: list[int]) -> list[int]:
    eos = MODEL.tokenizer.eos_id
    return ids[: ids.index(eos)] if eos in ids else ids


def test_texts_do_not_depend_on_the_chunk() -> None:
    prompts = [[1, 2], [3], [4, 5, 6]] * 2
    whole = generate(MODEL, prompts, new=6, settings=Generation(steps=4), seed=1)
    parts = generate(MODEL, prompts, new=6, settings=Generation(steps=4, chunk=2), seed=1)
    assert [w.ids for w in whole] == [w.ids for w in parts]


def test_an_exact_cache_changes_no_token_and_no_count() -> None:
    prompts = [[1, 2, 3, 4], [5, 6, 7, 0]]
    for settings in (Generation(steps=8), Generation(steps=40, order="confidence")):
        plain = generate(BLOCKY, prompts, new=12, settings=settings, seed=5)
        cached = generate(
            BLOCKY, prompts, new=12, settings=settings.model_copy(update={"cache": "exact"}), seed=5
        )
        assert plain == cached


def test_approximate_caches_run_and_say_that_they_are_not_exact() -> None:
    for kind in ("prefix", "dual"):
        settings = Generation(steps=8, block_length=4, cache=kind)
        found = generate(MODEL, [[1, 2, 3], [4]], new=8, settings=settings)
        assert all(w.evaluations <= 8 for w in found)
        assert not settings.exact
    # With one step per block nothing has changed since the block began: the caches are exact then.
    once = [
        generate(MODEL, [[1, 2, 3], [4]], new=8, settings=Generation(steps=2, block_length=4, cache=kind))
        for kind in ("none", "prefix", "dual")
    ]
    assert once[0] == once[1] == once[2]


def test_a_bidirectional_model_sees_what_follows_and_a_blocky_one_does_not() -> None:
    x = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 0]])
    other = x.clone()
    other[0, 6] = 2
    where = torch.zeros_like(x, dtype=torch.bool)
    where[0, 1] = True
    near = torch.zeros_like(where)
    near[0, 5] = True
    same = [
        torch.allclose(m.denoiser(x, 1).at(where), m.denoiser(other, 1).at(where)) for m in (MODEL, BLOCKY)
    ]
    assert same == [False, True]
    assert not torch.allclose(BLOCKY.denoiser(x, 1).at(near), BLOCKY.denoiser(other, 1).at(near))


def test_a_causal_model_writes_what_its_own_products_say() -> None:
    settings = Generation(plan="first-hitting", order="left", temperature=0)
    found = generate(CAUSAL, [[1, 2]], new=5, settings=settings)[0]
    ids = [1, 2]
    for _ in range(5):
        start = torch.tensor([[CAUSAL.tokenizer.mask_id, *ids]])
        ids.append(int(CAUSAL.net(start)[0, -1].argmax()))
    assert list(found.ids) == _cut(ids[2:])
    assert found.evaluations == 5


def test_a_causal_text_from_nothing_is_the_same_beside_a_long_prompt() -> None:
    settings = Generation(plan="first-hitting", order="left")
    together = generate(CAUSAL, [[], [1, 2, 3, 4]], new=8, settings=settings)
    assert generate(CAUSAL, [[]], new=8, settings=settings)[0] == together[0]


def test_guidance_costs_a_second_call_and_none_costs_one() -> None:
    settings = Generation(plan="first-hitting")
    plain = generate(MODEL, [[1, 2]], new=6, settings=settings)[0]
    stressed = generate(MODEL, [[1, 2]], new=6, settings=settings.model_copy(update={"guidance": 2.0}))[0]
    assert (plain.evaluations, stressed.evaluations) == (6, 12)


def test_blocks_stop_after_the_end_of_text() -> None:
    eos = MODEL.tokenizer.eos_id
    settings = Generation(steps=8, block_length=4)
    tokens, free = canvas([[1], [2]], 16, MODEL)

    def ends_first(denoiser):  # type: ignore[no-untyped-def]
        from core.steer.tokens import hooked

        def hook(t, x, logits, where):  # type: ignore[no-untyped-def]
            out = logits.clone()
            first = x["tokens"][where.nonzero()[:, 0], 0] == 1
            out[first, eos] += 100.0
            out[~first, eos] = -torch.inf
            return out

        return hooked(denoiser, hook)

    done, calls = fill_canvas(
        MODEL, tokens, free, settings.model_copy(update={"order": "left"}), Seeds([1, 2]), steer=ends_first
    )
    assert (done[0, 1:5] == eos).all()
    assert (done[0, 5:] == MODEL.tokenizer.mask_id).all()
    assert (done[1] != MODEL.tokenizer.mask_id).all()
    assert calls.tolist() == [2, 8]


def test_a_penalty_keeps_the_end_away() -> None:
    flood = random_model()
    eos = flood.tokenizer.eos_id
    with torch.no_grad():
        flood.net.bias[eos] += 9.0
    texts = {
        penalty: generate(
            flood, [[]] * 20, new=12, settings=Generation(steps=12, block_length=4, eos_penalty=penalty)
        )
        for penalty in (0.0, 50.0)
    }
    lengths = {penalty: sum(len(w.ids) for w in found) / 20 for penalty, found in texts.items()}
    assert lengths[50.0] > lengths[0.0] + 4


def test_every_row_can_be_watched() -> None:
    seen = []
    generate(
        MODEL,
        [[1]],
        new=6,
        settings=Generation(steps=5),
        watch=lambda number, total, tokens: seen.append((number, total, int((tokens == 9).sum()))),
    )
    assert [s[0] for s in seen] == [1, 2, 3, 4, 5]
    assert [s[2] for s in seen] == sorted((s[2] for s in seen), reverse=True)
    assert seen[-1] == (5, 5, 0)


@pytest.mark.parametrize(
    ("model", "prompts", "new", "settings", "words"),
    [
        (MODEL, [[1] * 30], 8, {}, "30 tokens and 8 are to be written; the model reads 32"),
        (MODEL, [[9]], 4, {}, "the mask"),
        (MODEL, [[]], 0, {}, "at least 1 token"),
        (MODEL, [[]], 4, {"cache": "prefix"}, "cache is of blocks"),
        (MODEL, [[]], 4, {"cache": "exact", "block_length": 2}, "block-causal"),
        (MODEL, [[]], 4, {"threshold": 0.5}, "goes with --order confidence"),
        (MODEL, [[]], 4, {"plan": "cap", "order": "left"}, "remasking has no order"),
        (CAUSAL, [[]], 4, {}, "left to right"),
    ],
)
def test_refusals_come_before_any_work(model, prompts, new, settings, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ConfigError, DataError), match=words):
        generate(model, prompts, new=new, settings=Generation(**settings))
