"""Likelihood of text: exact where the model is causal, bounds elsewhere, the same in every batch."""

import math

import numpy as np
import pytest
import torch

from core.density.tokens import exact_bound
from core.errors import ConfigError, DataError
from core.train import Batch
from domains.language.config import preset_for
from domains.language.formats.reading import Document
from domains.language.networks import causal_nats
from domains.language.scoring import document_blocks, score_blocks, score_documents, score_set, totals
from domains.language.streams import Blocks
from domains.language.training import BlockLoss
from tests.domains.language.models import random_model

MODEL = random_model()
SHORT = random_model(config=preset_for("nano", {"length": 6}))
BLOCKY = random_model(config=preset_for("nano", {"length": 6, "block": 3}))
CAUSAL = random_model(kind="causal")


def rows(n: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 8, (n, length), generator=torch.Generator().manual_seed(seed))


def test_the_bound_of_a_network_is_the_enumerated_one() -> None:
    x0 = rows(1, 6).expand(300, 6)
    found = score_blocks(SHORT, x0, draws=8)
    exact = float(exact_bound(SHORT.denoiser, x0[:1]))
    assert float(found.nats.mean()) == pytest.approx(exact, abs=4 * float(found.nats.std()) / 300**0.5)


def test_scores_do_not_depend_on_the_batch() -> None:
    blocks = rows(9, 32)
    blocks[3, 20:] = MODEL.tokenizer.pad_id
    one = score_blocks(MODEL, blocks, draws=4, chunk=64)
    other = score_blocks(MODEL, blocks, draws=4, chunk=5)
    assert torch.allclose(one.nats, other.nats, atol=1e-4)
    assert one.lengths.tolist() == [32] * 3 + [20] + [32] * 5


def test_padding_is_neither_seen_nor_scored() -> None:
    short = rows(1, 20)
    padded = torch.cat([short, torch.full((1, 12), MODEL.tokenizer.pad_id)], 1)
    assert torch.allclose(
        score_blocks(MODEL, short, draws=6).nats, score_blocks(MODEL, padded, draws=6).nats, atol=1e-4
    )


def test_a_causal_score_is_the_product_of_its_conditionals() -> None:
    ids = [3, 1, 4, 1, 5]
    total = 0.0
    for i, token in enumerate(ids):
        start = torch.tensor([[CAUSAL.tokenizer.mask_id, *ids[:i]]])
        total -= float(CAUSAL.net(start)[0, -1].log_softmax(-1)[token])
    found = score_blocks(CAUSAL, torch.tensor([ids]))
    assert float(found.nats[0]) == pytest.approx(total, abs=1e-4)
    assert found.draws == 0
    assert float(causal_nats(CAUSAL.net, torch.tensor([ids]))) == pytest.approx(total, abs=1e-4)


def test_a_causal_model_sums_to_one_over_all_texts() -> None:
    tiny = random_model(config=preset_for("nano", {"length": 2, "kind": "causal"}))
    every = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    assert float((-score_blocks(tiny, every).nats).exp().sum()) == pytest.approx(1, abs=1e-4)


def test_the_bound_of_blocks_lies_above_the_entropy_of_no_text_and_sums_over_blocks() -> None:
    # A block model with one block per text is a model of masks: the two losses agree in the mean.
    x0 = rows(1, 6).expand(600, 6)
    whole = random_model(config=preset_for("nano", {"length": 6, "block": 5}))
    found = BlockLoss(6)(whole.denoiser, Batch(x0), torch.Generator().manual_seed(0))
    exact = float(exact_bound(random_model(config=preset_for("nano", {"length": 6})).denoiser, x0[:1]))
    assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / 600**0.5)
    blocks = score_blocks(BLOCKY, x0[:2], draws=16)
    assert torch.isfinite(blocks.nats).all()
    # The first block is scored as if the second were not there.
    other = x0[:2].clone()
    other[:, 3:] = 7
    hidden = torch.tensor([[True, False, True, False, False, False]]).expand(2, 6)
    from domains.language.training import block_nats

    first = block_nats(BLOCKY.net, x0[:2], hidden, 3)
    assert torch.allclose(first, block_nats(BLOCKY.net, other, hidden, 3), atol=1e-5)


def test_documents_are_scored_one_by_one_and_together() -> None:
    documents = [Document("abcab" * 12, 1, "a.txt"), Document("", 2, "a.txt"), Document("hh", 3, "a.txt")]
    found = score_documents(MODEL, documents, draws=4)
    assert [s.tokens for s in found] == [61, 1, 3]
    assert [s.raw_bytes for s in found] == [60, 0, 2]
    alone = score_documents(MODEL, documents[2:], draws=4)[0]
    assert alone.nats == pytest.approx(found[2].nats, abs=1e-6)
    whole = totals(found)
    assert whole.nats == pytest.approx(sum(s.nats for s in found))
    assert whole.bits_per_byte == pytest.approx(whole.nats / math.log(2) / 62)
    assert whole.perplexity == pytest.approx(math.exp(whole.nats / 65))
    row = whole.row()
    assert row["nats_per_token_error"] > 0
    with pytest.raises(DataError, match="no text to score"):
        score_documents(MODEL, [])


def test_a_set_is_scored_by_a_spread_of_its_blocks() -> None:
    ids = np.arange(320, dtype=np.int32) % 8
    blocks = Blocks(ids, 32, None, MODEL.tokenizer.pad_id)
    all_ = score_set(MODEL, blocks, "all", draws=2, characters=320)
    some = score_set(MODEL, blocks, "some", draws=2, most=5, characters=320)
    assert (all_.tokens, some.tokens, some.characters) == (320, 160, 160)
    assert some.per_token == pytest.approx(all_.per_token, rel=0.05)


def test_blocks_of_a_document_cover_it() -> None:
    blocks = document_blocks(np.arange(7), 3, 99)
    assert blocks.tolist() == [[0, 1, 2], [3, 4, 5], [6, 99, 99]]


def test_uniform_models_are_not_scored_here() -> None:
    with pytest.raises(ConfigError, match="uniform noise"):
        score_blocks(random_model(kind="uniform"), rows(1, 32))
