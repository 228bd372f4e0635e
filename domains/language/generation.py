"""Writing text: prompts of any length, at once or block by block.

    canvas     [padding] [prompt] [masks]      prompts are padded on the left, so that all end together
    at once    every mask of the canvas is free
    blocks     the masks of one block after another are free; what is written stays

A block-causal model keeps the keys and values of finished blocks, which is exact (`cache="exact"`). For other
models a cache changes the result: "prefix" remembers what stands before the block as it was when the block
began, "dual" what follows it too.

A causal model writes from left to right, one token per evaluation.

Sources: Ou et al. 2024, arXiv:2406.03736; Arriola et al. 2025, arXiv:2503.09573 (blocks); Wu et al. 2025,
arXiv:2505.22618 (prefix and dual cache).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, TokenPosterior
from core.errors import ConfigError, DataError
from core.nets.transformer import Cache
from core.process import Masking
from core.process.masking import tokens_and_free
from core.progress import Progress, silent
from core.reveal import evaluated
from core.run import steps
from core.state import Seeds
from core.train import mixed_seed
from domains.language.config import Generation
from domains.language.networks import TextNet
from domains.language.plans import plan_for, steered
from domains.language.radd import Continued, TextModel

__all__ = ["CausalDenoiser", "Watch", "Written", "canvas", "denoiser_of", "fill_canvas", "generate"]

Watch = Callable[[int, int, Tensor], None]
"""Told after each row: its number, the number of rows, the canvas (B, L)."""


@dataclass(frozen=True)
class Written:
    """One text.

    Attributes:
        prompt: ids that were given.
        ids: ids that were written, up to the end of text and without it.
        stop: "eos" or "length".
        evaluations: of the network, for this sequence.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    stop: str
    evaluations: int


@dataclass(frozen=True)
class CausalDenoiser:
    """A causal network as a denoiser for the order "left": the law of each token given those before it."""

    net: TextNet
    process: Masking
    rowwise: bool = True

    def __call__(self, x: Any, t: Any, cond: Any = None) -> TokenPosterior:
        tokens, _ = tokens_and_free(x)
        hidden = self.net.hidden(self.net.started(tokens))
        return TokenPosterior(lambda where: self.net.head(hidden[where]), tokens.shape)


def denoiser_of(model: TextModel) -> Denoiser:
    """The posterior of a model of any kind."""
    if model.config.kind == "causal":
        assert isinstance(model.process, Masking)
        return CausalDenoiser(model.net, model.process)
    return model.denoiser


def canvas(prompts: Sequence[Sequence[int]], new: int, model: TextModel) -> tuple[Tensor, Tensor]:
    """Tokens (B, L) with masks to fill in, and where they are."""
    longest = max((len(prompt) for prompt in prompts), default=0)
    tokens = torch.full((len(prompts), longest + new), model.tokenizer.mask_id, dtype=torch.long)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[:longest] = model.tokenizer.pad_id
        row[longest - len(prompt) : longest] = torch.tensor(prompt, dtype=torch.long)
    free = torch.zeros_like(tokens, dtype=torch.bool)
    free[:, longest:] = True
    return tokens.to(model.device), free.to(model.device)


def generate(
    model: TextModel,
    prompts: Sequence[Sequence[int]],
    *,
    new: int,
    settings: Generation = Generation(),
    seed: int = 0,
    steer: Callable[[Denoiser], Denoiser] | None = None,
    watch: Watch | None = None,
    progress: Progress = silent,
) -> list[Written]:
    """Continue each prompt.

    Args:
        prompts: ids; an empty one starts from nothing.
        new: tokens to write, at most.
        settings: plan, order, shape, blocks.
        seed: text i is the same whatever is written beside it.
        steer: another change of the denoiser, such as an energy (`correction.corrected`); its states hold
            "seed" (B,), the seed of each text.
        watch: shown every row of the first chunk.

    Raises:
        ConfigError: settings that contradict each other or the model.
        DataError: a prompt is too long for the model, or holds ids that are no tokens.
    """
    check(model, prompts, new, settings)
    out: list[Written] = []
    for start in range(0, len(prompts), settings.chunk):
        part = prompts[start : start + settings.chunk]
        tokens, free = canvas(part, new, model)
        if model.config.kind == "uniform":
            tokens = model.process.prior({"tokens": tokens, "mask": free}, _seeds(seed, start, part))[
                "tokens"
            ]
        done, calls = fill_canvas(
            model,
            tokens,
            free,
            settings,
            Seeds([mixed_seed(seed, "text", start + i) for i in range(len(part))], model.device),
            steer=steer,
            watch=watch if start == 0 else None,
        )
        out += [
            _written(model, prompt, row[-new:].tolist(), int(n))
            for prompt, row, n in zip(part, done, calls, strict=True)
        ]
        progress("generate", min(start + settings.chunk, len(prompts)), len(prompts))
    return out


def check(model: TextModel, prompts: Sequence[Sequence[int]], new: int, settings: Generation) -> None:
    """Refuse what cannot be written, before any of it is."""
    if new < 1:
        raise ConfigError(f"at least 1 token must be written, got {new}.")
    longest = max((len(prompt) for prompt in prompts), default=0)
    blocks = settings.block_length or model.config.block
    room = model.length if blocks is None else max(model.length - blocks, 0) + new
    if longest + new > room or (blocks is not None and longest > model.length - blocks):
        raise DataError(
            f"the longest prompt has {longest} tokens and {new} are to be written; the model reads "
            f"{model.length} at once.",
            hint="Pass --truncate-left, write fewer tokens, or write blocks (--block-length).",
        )
    for number, prompt in enumerate(prompts):
        model.tokenizer.check_ids(prompt, source=f"prompt {number}")
    if settings.cache == "exact" and model.config.block is None:
        raise ConfigError(
            "an exact cache needs a block-causal model.", hint="Use --cache prefix, which is approximate."
        )
    if settings.cache != "none" and blocks is None:
        raise ConfigError("a cache is of blocks.", hint="Pass --block-length.")
    if settings.cache != "none" and (settings.guidance or longest + new > model.length):
        raise ConfigError("a cache goes with texts within the model's length and without guidance.")
    if model.config.kind == "causal" and (settings.plan, settings.order) != ("first-hitting", "left"):
        raise ConfigError(
            "a causal model writes from left to right.", hint="Pass --plan first-hitting --order left."
        )
    if model.config.kind == "uniform" and blocks is not None:
        raise ConfigError("a model of uniform noise writes at once.", hint="Leave out --block-length.")
    plan_for(model.process, settings, max(new, 1))


def fill_canvas(
    model: TextModel,
    tokens: Tensor,
    free: Tensor,
    settings: Generation,
    gen: Seeds,
    *,
    steer: Callable[[Denoiser], Denoiser] | None = None,
    watch: Watch | None = None,
) -> tuple[Tensor, Tensor]:
    """Fill the free positions of a canvas (B, L); returns it and the evaluations of each sequence, (B,).

    With a block length, free positions are filled block by block from the first of them on; a text that has
    ended stops growing, and its later blocks stay masked.
    """
    calls = torch.zeros(len(tokens), dtype=torch.long)
    first = int(free.any(0).nonzero()[0]) if bool(free.any()) else tokens.shape[1]
    block = settings.block_length or model.config.block
    if block is not None and model.config.block is not None and not settings.block_length:
        first -= first % block
    stops = [*range(first, tokens.shape[1], block or tokens.shape[1]), tokens.shape[1]]
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    spans = [(a, b) for a, b in pairwise(stops) if b > a]
    eos = model.tokenizer.eos_id
    for number, (start, stop) in enumerate(spans):
        region = free.clone()
        region[:, :start] = False
        region[:, stop:] = False
        region[ended] = False
        if not bool(region.any()):
            continue
        last = number == len(spans) - 1
        tokens = _block(
            model, tokens, region, (start, stop), settings, gen, calls, last, steer, watch, len(spans), number
        )
        if eos is not None and block is not None:
            ended |= (tokens[:, start:stop] == eos).logical_and(free[:, start:stop]).any(1)
    return tokens, calls


def _block(
    model: TextModel,
    tokens: Tensor,
    region: Tensor,
    span: tuple[int, int],
    settings: Generation,
    gen: Seeds,
    calls: Tensor,
    last: bool,
    steer: Callable[[Denoiser], Denoiser] | None,
    watch: Watch | None,
    blocks: int,
    number: int,
) -> Tensor:
    """Walk the plan over one block; the canvas with it filled in."""
    start, stop = span
    low = max(0, stop - model.length)
    high = min(tokens.shape[1], low + model.length)
    if settings.cache == "none":
        denoiser, columns = denoiser_of(model), torch.arange(low, high, device=tokens.device)
    else:
        denoiser, columns = _remembered(model, tokens, start, stop, settings.cache)
    denoiser = steered(denoiser, settings, model.tokenizer.eos_id, last=last)
    denoiser = denoiser if steer is None else steer(denoiser)
    state: dict[str, Tensor] = {"tokens": tokens[:, columns], "mask": region[:, columns]}
    state["seed"] = torch.tensor([one.initial_seed() for one in gen.generators], device=tokens.device)
    if settings.cache != "none":
        state["row"] = torch.arange(len(tokens), device=tokens.device)
    if steer is not None:
        seeds = [one.initial_seed() for one in gen.generators]
        state["seed"] = torch.tensor(seeds, device=tokens.device)
    count = int(region.sum(1).max())
    share = settings.model_copy(update={"steps": max(1, round(settings.steps / blocks))})
    plan = plan_for(model.process, share, count)
    double = 2 if settings.guidance else 1
    with torch.no_grad():
        for step in steps(plan, denoiser, state, gen):
            calls += double * evaluated(step.row, step.x, step.next).cpu().long()
            if watch is not None:
                shown = tokens.clone()
                shown[:, columns] = step.next["tokens"]
                watch(number * len(plan.rows) + step.number + 1, blocks * len(plan.rows), shown)
            state = step.next
    out = tokens.clone()
    out[:, columns] = state["tokens"]
    return out


def _remembered(
    model: TextModel, tokens: Tensor, start: int, stop: int, kind: str
) -> tuple[Continued, Tensor]:
    """A denoiser of the columns that are worked on, the keys and values of the others, and the columns."""
    net, length = model.net, tokens.shape[1]
    pad = tokens == model.tokenizer.pad_id
    place = ((~pad).cumsum(1) - 1).clamp_min(0)
    every = torch.arange(length, device=tokens.device)
    if kind == "exact":
        keep, work = every[:start], every[start:stop]
        seen = tokens[:, :start]
        attend = None
        if model.config.block is not None and start:
            number = every[:start] // model.config.block
            attend = number[:, None] >= number
    else:
        keep = every[:start] if kind == "prefix" else torch.cat([every[:start], every[stop:]])
        work = every[start:] if kind == "prefix" else every[start:stop]
        seen, attend = tokens, None
    with torch.no_grad():
        if seen.shape[1]:
            _, cache = net.extend(seen, attend=attend)
        else:
            cache = _nothing(net, tokens)
    past = Cache(*(tuple(value[:, :, keep] for value in part) for part in cache))
    padded = bool(pad.any())
    assert isinstance(model.process, Masking)
    denoiser = Continued(net, model.process, past, place[:, work], ~pad[:, keep] if padded else None)
    return denoiser, work


def _nothing(net: TextNet, tokens: Tensor) -> Cache:
    heads = net.config["heads"]
    empty = net.bias.new_zeros(len(tokens), heads, 0, net.config["width"] // heads)
    return Cache((empty,) * net.config["depth"], (empty,) * net.config["depth"])


def _seeds(seed: int, start: int, part: Sequence[Any]) -> Seeds:
    return Seeds([mixed_seed(seed, "start", start + i) for i in range(len(part))])


def _written(model: TextModel, prompt: Sequence[int], ids: list[int], calls: int) -> Written:
    eos, mask = model.tokenizer.eos_id, model.tokenizer.mask_id
    stop = next((i for i, token in enumerate(ids) if token in (eos, mask)), None)
    return Written(
        tuple(prompt), tuple(ids if stop is None else ids[:stop]), "length" if stop is None else "eos", calls
    )
