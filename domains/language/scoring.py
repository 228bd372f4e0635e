"""Likelihood of text: nats, perplexity, bits per byte and per character, each with its standard error.

A model of masks scores the any-order bound over R stratified draws of a mask per block, so its figures are
upper bounds; a causal model scores exactly. A long document is cut into blocks of the model's length, each
given nothing of the one before.

Source of the estimator: Ou et al. 2024, arXiv:2406.03736, eq. 3.10.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.density.tokens import OrderBound, any_order_bound, order_nats
from core.errors import ConfigError, DataError
from core.process import Masking
from core.progress import Progress, silent
from core.state import Seeds
from core.train import Batch, mixed_seed
from domains.language.formats.reading import Document
from domains.language.generation import denoiser_of
from domains.language.metrics.bits import likelihood
from domains.language.networks import causal_nats
from domains.language.radd import TextModel
from domains.language.streams import Blocks
from domains.language.token_files import Prepared, encoded
from domains.language.training import BlockLoss

__all__ = ["Score", "document_blocks", "score_blocks", "score_documents", "score_set", "totals"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Score:
    """What a text costs under a model.

    Attributes:
        name: of the document or set.
        tokens: scored.
        nats: total; an upper bound in expectation unless `exact`.
        error: standard error of `nats`: over the draws for one document, over the blocks for a set.
        draws: masks per block; 0 for an exact score.
        exact: whether the model gives the probability itself.
        raw_bytes: of the text as it was read, for bits per byte; 0 if unknown.
        characters: likewise.
    """

    name: str
    tokens: int
    nats: float
    error: float
    draws: int
    exact: bool
    raw_bytes: int = 0
    characters: int = 0

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.per_token, 700.0))

    @property
    def bits_per_byte(self) -> float | None:
        return self.nats / math.log(2) / self.raw_bytes if self.raw_bytes else None

    @property
    def bits_per_character(self) -> float | None:
        return self.nats / math.log(2) / self.characters if self.characters else None

    def row(self) -> dict[str, Any]:
        """The score with what follows from it."""
        known = math.isfinite(self.error)  # one draw, or one block, has no standard error
        return {
            **asdict(self),
            "error": self.error if known else None,
            "nats_per_token": self.per_token,
            "nats_per_token_error": self.error / self.tokens if known else None,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "bits_per_character": self.bits_per_character,
        }


def document_blocks(ids: Array, length: int, pad_id: int) -> Tensor:
    """A document as blocks (n, L), the last one padded."""
    count = max(-(-len(ids) // length), 1)
    out = torch.full((count * length,), pad_id, dtype=torch.long)
    out[: len(ids)] = torch.from_numpy(np.ascontiguousarray(ids, dtype=np.int64))
    return out.reshape(count, length)


def score_blocks(
    model: TextModel,
    blocks: Tensor,
    *,
    draws: int = 16,
    seed: int = 0,
    chunk: int = 64,
    exact_order: bool = False,
) -> OrderBound:
    """Nats of each block (n, L); padding is not scored. A block's value does not depend on its neighbours.

    Args:
        draws: masks per block.
        exact_order: score the order left to right instead, with one evaluation per token.
    """
    blocks = blocks.to(model.device)
    free = blocks != model.tokenizer.pad_id
    lengths = free.sum(1)
    nan = torch.full((len(blocks),), math.nan, dtype=torch.float64)
    if model.config.kind == "uniform":
        raise ConfigError("text is scored by models of masks or causal ones, got one of uniform noise.")
    if model.config.kind == "causal":
        with torch.no_grad():
            parts = [
                causal_nats(model.net, blocks[i : i + chunk], free[i : i + chunk])
                for i in range(0, len(blocks), chunk)
            ]
        return OrderBound(torch.cat(parts).cpu(), 0 * nan, lengths.cpu(), 0)
    if exact_order and model.config.block is None:
        parts = [
            order_nats(denoiser_of(model), {"tokens": blocks[i : i + chunk], "mask": free[i : i + chunk]})
            for i in range(0, len(blocks), chunk)
        ]
        return OrderBound(torch.cat(parts).cpu(), nan, lengths.cpu(), 1)
    seeds = [mixed_seed(seed, "score", i) for i in range(len(blocks))]
    if model.config.block is not None:
        return _by_blocks(model, blocks, free, seeds, draws)
    state = {"tokens": blocks, "mask": free}
    found = any_order_bound(denoiser_of(model), state, seeds, draws=draws, chunk=chunk)
    return OrderBound(found.nats.cpu(), found.error.cpu(), found.lengths.cpu(), draws)


def score_documents(
    model: TextModel,
    documents: Iterable[Document],
    *,
    prepared: Prepared | None = None,
    draws: int = 16,
    seed: int = 0,
    exact_order: bool = False,
    progress: Progress = silent,
) -> list[Score]:
    """Score each document on its own; a document's block i draws the same whatever is scored with it.

    Raises:
        DataError: there is no document, or none has a token.
    """
    ends = "eos" if model.tokenizer.eos_id is not None else "none"
    prepared = Prepared(ends=ends) if prepared is None else prepared  # type: ignore[arg-type]
    out: list[Score] = []
    held: list[Array] = []
    texts: list[str] = []
    for item, ids in encoded(documents, model.tokenizer, prepared):
        held.append(ids)
        texts.append(item.text)
        if not item.ends:
            continue
        whole, text = np.concatenate(held), "".join(texts)
        held, texts = [], []
        if not len(whole):
            continue
        blocks = document_blocks(whole, model.length, model.tokenizer.pad_id)
        found = score_blocks(model, blocks, draws=draws, seed=seed, exact_order=exact_order)
        out.append(
            Score(
                name=item.name if item.table else f"{item.source}, line {item.row}",
                tokens=len(whole),
                nats=float(found.nats.sum()),
                error=float(found.error.square().sum().sqrt()),
                draws=found.draws,
                exact=found.draws == 0,
                raw_bytes=len(text.encode("utf-8", "surrogatepass")),
                characters=len(text),
            )
        )
        progress("score", len(out), None)
    if not out:
        raise DataError("there is no text to score.", hint="Give a file with text.")
    return out


def score_set(
    model: TextModel,
    blocks: Blocks,
    name: str,
    *,
    draws: int = 16,
    seed: int = 0,
    most: int | None = None,
    raw_bytes: int = 0,
    characters: int = 0,
    progress: Progress = silent,
) -> Score:
    """Score the blocks of a set together.

    Args:
        most: blocks scored, spread evenly over the set; all by default. Bytes and characters then count in
            proportion.
    """
    count = len(blocks) if most is None else min(most, len(blocks))
    numbers = np.linspace(0, len(blocks), count, endpoint=False).astype(int)
    nats, lengths = [], []
    found: OrderBound | None = None
    for start in range(0, count, 64):
        part = numbers[start : start + 64]
        found = score_blocks(
            model, torch.from_numpy(blocks.rows(part)), draws=draws, seed=mixed_seed(seed, start)
        )
        nats.append(found.nats)
        lengths.append(found.lengths)
        progress("score", start + len(part), count)
    assert found is not None
    whole = OrderBound(torch.cat(nats), torch.zeros(count), torch.cat(lengths), found.draws)
    tokens = int(whole.lengths.sum())
    share = tokens / max(int(blocks.sizes.sum()), 1)
    return Score(
        name=name,
        tokens=tokens,
        nats=float(whole.nats.sum()),
        error=likelihood(whole.nats.numpy(), whole.lengths.numpy()).nats_per_token_se * tokens,
        draws=found.draws,
        exact=found.draws == 0,
        raw_bytes=round(raw_bytes * share),
        characters=round(characters * share),
    )


def totals(scores: Sequence[Score], name: str = "all") -> Score:
    """Documents together; the error is that over the documents where there are several."""
    tokens, nats = sum(s.tokens for s in scores), sum(s.nats for s in scores)
    error = scores[0].error
    if len(scores) > 1:
        found = likelihood([s.nats for s in scores], [s.tokens for s in scores])
        error = found.nats_per_token_se * tokens
    return Score(
        name,
        tokens,
        nats,
        error,
        scores[0].draws,
        scores[0].exact,
        sum(s.raw_bytes for s in scores),
        sum(s.characters for s in scores),
    )


def _by_blocks(
    model: TextModel, blocks: Tensor, free: Tensor, seeds: Sequence[int], draws: int
) -> OrderBound:
    """The bound of block diffusion, each draw masking every block of a text at a level of its own."""
    assert isinstance(model.process, Masking)
    assert model.config.block is not None
    loss, denoiser = BlockLoss(model.config.block), model.denoiser
    each = []
    with torch.no_grad():
        for draw in range(draws):
            gens = Seeds([mixed_seed(one, draw) for one in seeds], model.device)
            rows = [
                loss(denoiser, Batch({"tokens": blocks[i : i + 1], "mask": free[i : i + 1]}), Seeds.of([g]))
                for i, g in enumerate(gens.generators)
            ]
            each.append(torch.cat(rows))
    table = torch.stack(each, 1).cpu()
    error = table.std(1) / draws**0.5 if draws > 1 else torch.full_like(table[:, 0], math.nan)
    return OrderBound(table.mean(1), error, free.sum(1).cpu(), draws)
