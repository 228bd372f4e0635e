"""Filling holes in a text: every length that a hole may have is tried, the best is kept.

The score of a filling is the any-order bound on -ln p of its tokens given the rest, per token, under fixed
draws; the lowest wins, and of two equal ones the shorter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from core.density.tokens import any_order_bound
from core.errors import ConfigError
from core.progress import Progress, silent
from core.state import Seeds
from core.train import mixed_seed
from domains.language.config import Generation
from domains.language.generation import denoiser_of, fill_canvas
from domains.language.holes import Layout, Piece, layouts
from domains.language.plans import plan_for
from domains.language.radd import TextModel

__all__ = ["Filled", "infill"]

DRAWS = 8


@dataclass(frozen=True)
class Filled:
    """A text whose holes are filled.

    Attributes:
        ids: of the whole text.
        lengths: chosen for each hole.
        spans: first token and one past the last of each hole.
        nats_per_token: of the filling, an upper bound in expectation; what was compared.
        tried: choices of lengths.
        evaluations: of the network, drawing and comparing all choices.
    """

    ids: tuple[int, ...]
    lengths: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    nats_per_token: float
    tried: int
    evaluations: int


def infill(
    model: TextModel,
    texts: Sequence[Sequence[Piece]],
    *,
    settings: Generation = Generation(),
    seed: int = 0,
    progress: Progress = silent,
) -> list[Filled]:
    """Fill the holes of each text.

    Args:
        texts: pieces of each, see `holes.parse_holes`.
        settings: plan, order and shape; blocks do not apply.
        seed: text i is filled the same whatever is filled beside it.

    Raises:
        ConfigError: a text does not fit the model, or the settings ask for blocks.
        DataError: a text has no hole.
    """
    if model.config.kind != "radd" or model.config.block is not None:
        raise ConfigError("holes need a bidirectional model of kind 'radd'.", hint="Use generate.")
    if settings.block_length is not None or settings.cache != "none":
        raise ConfigError("holes are filled at once.", hint="Leave out --block-length and --cache.")
    plan_for(model.process, settings, 1)
    choices = [list(layouts(pieces, model.tokenizer, length=model.length)) for pieces in texts]
    out = []
    for number, options in enumerate(choices):
        best: Filled | None = None
        spent = 0
        seeds = [mixed_seed(seed, "hole", number, *option.lengths) for option in options]
        for found, calls in _filled(model, options, settings, seeds):
            spent += calls
            shorter = best is not None and sum(found.lengths) < sum(best.lengths)
            if best is None or (found.nats_per_token, not shorter) < (best.nats_per_token, False):
                best = found
        assert best is not None
        out.append(Filled(best.ids, best.lengths, best.spans, best.nats_per_token, len(options), spent))
        progress("infill", number + 1, len(choices))
    return out


def _filled(
    model: TextModel, options: Sequence[Layout], settings: Generation, seeds: Sequence[int]
) -> list[tuple[Filled, int]]:
    """Each layout with its holes filled, and its evaluations; layouts are padded to one length in chunks."""
    out: list[tuple[Filled, int]] = []
    for part, own in _chunks(options, seeds, settings.chunk):
        longest = max(len(option.ids) for option in part)
        tokens = torch.full((len(part), longest), model.tokenizer.pad_id, dtype=torch.long)
        free = torch.zeros(tokens.shape, dtype=torch.bool)
        for i, option in enumerate(part):
            tokens[i, : len(option.ids)] = torch.from_numpy(option.ids)
            free[i, : len(option.ids)] = torch.from_numpy(option.free)
        tokens, free = tokens.to(model.device), free.to(model.device)
        done, calls = fill_canvas(model, tokens, free, settings, Seeds(list(own), model.device))
        denoiser = denoiser_of(model)
        bound = any_order_bound(denoiser, {"tokens": done, "mask": free}, [0] * len(part), draws=DRAWS)
        for row, option, nats, n, count in zip(
            done, part, bound.nats.tolist(), bound.lengths.tolist(), calls.tolist(), strict=True
        ):
            ids = tuple(row[: len(option.ids)].tolist())
            out.append((Filled(ids, option.lengths, option.spans, nats / n, 1, 0), count + DRAWS))
    return out


def _chunks(
    options: Sequence[Layout], seeds: Sequence[int], size: int
) -> list[tuple[Sequence[Layout], Sequence[int]]]:
    starts = range(0, len(options), size)
    return [(options[i : i + size], seeds[i : i + size]) for i in starts]
