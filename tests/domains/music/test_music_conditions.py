"""What is hidden while training: rates of each kind, and the law of spans, per sample."""

import pytest
import torch

from core.errors import ConfigError
from core.train import seeds_of
from domains.music.conditions import Dropout, Spans, dropped, hiding, masked

COUNT = 20_000


def test_each_kind_is_hidden_at_its_own_rate_and_independently() -> None:
    rates = Dropout(lyrics=0.2, style=0.3, context=0.1, joint=0.15)
    gen = torch.Generator().manual_seed(0)
    told = dropped({"start": torch.zeros(COUNT)}, rates, gen, COUNT)
    hidden = {name: ~told[f"has_{name}"] for name in ("lyrics", "style", "context")}
    # Standard error at most 0.0035 each.
    for name, rate in (("lyrics", 0.2), ("style", 0.3), ("context", 0.1)):
        assert float(hidden[name].double().mean()) == pytest.approx(1 - (1 - rate) * 0.85, abs=0.015)
    every = hidden["lyrics"] & hidden["style"] & hidden["context"]
    assert float(every.double().mean()) == pytest.approx(0.15 + 0.85 * 0.2 * 0.3 * 0.1, abs=0.012)
    only = hidden["lyrics"] & ~hidden["style"] & ~hidden["context"]
    assert float(only.double().mean()) == pytest.approx(0.85 * 0.2 * 0.7 * 0.9, abs=0.012)


def test_a_sample_is_hidden_alike_in_every_batch() -> None:
    rates, cond = Dropout(0.5, 0.5, 0.5, 0.2), {"start": torch.zeros(1)}
    whole = dropped(cond, rates, seeds_of(range(8), 3, "noise"), 8)
    parts = [dropped(cond, rates, seeds_of(range(k, k + 2), 3, "noise"), 2) for k in range(0, 8, 2)]
    for name in ("has_lyrics", "has_style", "has_context"):
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))
        assert 0 < int(whole[name].sum()) < 8


def test_spans_follow_their_law() -> None:
    spans = Spans(share=0.5, low=0.7, high=1.0, stem=0.0)
    gen = torch.Generator().manual_seed(1)
    keep = masked(torch.full((COUNT,), 100), 100, 2, spans, gen)
    assert torch.equal(keep[:, 0], keep[:, 1])
    kept = keep[:, 0].sum(1)
    # A share in [0.995, 1) of 100 frames rounds to all of them: 1/60 of the samples with context show none.
    given = float((kept > 0).double().mean())
    assert given == pytest.approx(0.5 * (1 - 0.005 / 0.3), abs=0.012)
    assert float(kept.max()) <= 30
    some = keep[:, 0][kept > 0]
    hidden = 100 - some.sum(1)
    assert float(hidden.mean()) == pytest.approx(84.75, abs=0.4)  # standard error 0.09
    first, last = some[:, 0] > 0, some[:, -1] > 0
    edges = (some.diff(dim=1) != 0).sum(1)
    prefix = ~first & last & (edges == 1)
    suffix = first & ~last & (edges == 1)
    span = first & last & (edges == 2)
    middle = ~first & ~last & (edges == 2)
    assert bool((prefix | suffix | span | middle).all())
    # A quarter each; spans and middles that touch an end look like a prefix or a suffix now and then.
    for found in (prefix, suffix, span, middle):
        assert float(found.double().mean()) == pytest.approx(0.25, abs=0.06)


def test_padding_is_never_given_and_one_stem_can_be() -> None:
    gen = torch.Generator().manual_seed(2)
    lengths = torch.tensor([40, 64]).repeat(2000)
    keep = masked(lengths, 64, 2, Spans(share=1.0, low=0.5, high=0.9, stem=0.4), gen)
    assert not keep[::2, :, 40:].any()
    whole = keep.sum(2) == lengths[:, None]
    one = whole[:, 0] ^ whole[:, 1]
    assert float(one.double().mean()) == pytest.approx(0.4, abs=0.03)  # standard error 0.008
    other = torch.where(whole[:, 0], keep[:, 1].sum(1), keep[:, 0].sum(1))
    assert not other[one].any()
    assert float(whole[one, 0].double().mean()) == pytest.approx(0.5, abs=0.05)
    assert not masked(lengths, 64, 1, Spans(share=1.0, stem=1.0), gen).sum(2).eq(lengths[:, None]).any()


def test_hiding_takes_the_other_vectors_of_the_lyrics() -> None:
    cond = {"text": torch.ones(2, 3, 4), "text_hidden": torch.zeros(2, 3, 4), "style": torch.ones(2, 5)}
    told = hiding(cond, lyrics=True, count=2)
    assert not told["text"].any()
    assert told["has_lyrics"].tolist() == [False, False]
    assert "has_style" not in told
    assert cond["text"].all()


@pytest.mark.parametrize("settings", [{"low": 0.0}, {"share": 1.5}, {"low": 0.9, "high": 0.8}])
def test_impossible_spans_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="spans need"):
        Spans(**settings)
    with pytest.raises(ConfigError, match=r"dropout of style must lie in \[0, 1\), got 1"):
        Dropout(style=1.0)
