"""Better texts from more evaluations: search over reveal order and token noise, and particles.

What is searched is the noise of a run, by what a verifier says of the text it ends in; see
`core.infer.search` for the methods and `core.infer.fk` for particles. Verifiers, higher is better:

    LogLikelihood   of a causal model, nats per token                          1 evaluation per text
    LowEnergy       minus a learned energy                                     1
    Consistent      minus the model's own bound over R masks, nats per token   R
    Pattern         1 where the text holds the pattern, else 0                 0
    Holding         share of the given strings that the text holds             0
    Judged          any function of the text                                   0

A budget pays for the generator's rows and the verifier's evaluations; rows that happen to reveal nothing are
charged too. The second verifier is not searched on and tells what was over-optimised.

Source: Ma et al. 2025, arXiv:2501.09732, section 3, with reveal order and token noise as the space.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.density.tokens import any_order_bound
from core.errors import ConfigError
from core.infer import Found, Search, difference, fk_sample, maximum, search, spread, total
from core.infer.particles import Particles
from core.process.masking import tokens_and_free
from core.progress import Progress, silent
from core.state import Seeds, batch_size
from core.train import mixed_seed
from domains.language.config import Generation
from domains.language.energy import PairEnergy
from domains.language.generation import canvas, check, denoiser_of
from domains.language.networks import TextNet, causal_nats
from domains.language.plans import plan_for, steered
from domains.language.radd import TextModel
from domains.language.tokenizer import Tokenizer

__all__ = [
    "Consistent",
    "Grown",
    "Holding",
    "Judged",
    "LogLikelihood",
    "LowEnergy",
    "Pattern",
    "SearchedText",
    "SteeredText",
    "best_of",
    "search_texts",
    "steer_particles",
]

Steer = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True)
class LogLikelihood:
    """ln p of the free tokens given the others under a causal network, per token."""

    net: TextNet
    calls: int = 1

    def __call__(self, x: Any) -> Tensor:
        tokens, where = _free(x)
        with torch.no_grad():
            return -causal_nats(self.net, tokens, where) / where.sum(1).clamp_min(1)


@dataclass(frozen=True)
class LowEnergy:
    """Minus the energy of a text beside its canvas of masks."""

    energy: PairEnergy
    calls: int = 1

    def __call__(self, x: Any) -> Tensor:
        tokens, where = _free(x)
        with torch.no_grad():
            found: Tensor = self.energy(tokens, torch.where(where, self.energy.process.mask_token, tokens))
        return -found


@dataclass(frozen=True)
class Consistent:
    """Minus the any-order bound of a model of masks, per token; all texts are asked at the same masks.

    Args:
        denoiser: the model, often the generator itself.
        draws: masks per text.
    """

    denoiser: Denoiser
    draws: int = 8

    @property
    def calls(self) -> int:
        return self.draws

    def __call__(self, x: Any) -> Tensor:
        tokens, where = _free(x)
        state = {"tokens": tokens, "mask": where}
        found = any_order_bound(self.denoiser, state, [0] * len(tokens), draws=self.draws)
        return -found.nats / found.lengths.clamp_min(1)


@dataclass(frozen=True)
class Pattern:
    """Whether a regular expression is found in the text, prompt included.

    Raises:
        ConfigError: it is no regular expression.
    """

    pattern: str
    tokenizer: Tokenizer
    calls: int = 0

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as err:
            raise ConfigError(f"'{self.pattern}' is no regular expression: {err}.") from err

    def __call__(self, x: Any) -> Tensor:
        return Judged(lambda text: float(re.search(self.pattern, text) is not None), self.tokenizer)(x)


@dataclass(frozen=True)
class Holding:
    """Share of some strings that the text holds, prompt included."""

    strings: tuple[str, ...]
    tokenizer: Tokenizer
    calls: int = 0

    def __post_init__(self) -> None:
        if not self.strings or not all(self.strings):
            raise ConfigError("give at least one string to look for, and no empty one.")

    def __call__(self, x: Any) -> Tensor:
        count = len(self.strings)
        return Judged(lambda text: sum(part in text for part in self.strings) / count, self.tokenizer)(x)


@dataclass(frozen=True)
class Judged:
    """A number for each text by a function of the caller, such as a check of its sums; prompt included."""

    judge: Callable[[str], float]
    tokenizer: Tokenizer
    calls: int = 0

    def __call__(self, x: Any) -> Tensor:
        found = [float(self.judge(text)) for text in _texts(x, self.tokenizer)]
        return torch.tensor(found, dtype=torch.float64, device=_free(x)[0].device)


class SearchedText(NamedTuple):
    """The best text of a search: ids that were written, and what the search spent and saw."""

    ids: tuple[int, ...]
    found: Found


class SteeredText(NamedTuple):
    """The particles of one prompt.

    Attributes:
        ids: of the heaviest particle, which is no draw from anything.
        particles: all of them, with weights and ancestry.
        evaluations: of the generator and the verifier, all particles together.
    """

    ids: tuple[int, ...]
    particles: Particles
    evaluations: int


class Grown(NamedTuple):
    """The best of the first n candidates."""

    n: int
    evaluations: int
    score: float
    second: float | None


def search_texts(
    model: TextModel,
    prompts: Sequence[Sequence[int]],
    *,
    new: int,
    verifier: Any,
    second: Any = None,
    settings: Search = Search(),
    generation: Generation = Generation(),
    seed: int = 0,
    steer: Steer | None = None,
    progress: Progress = silent,
) -> list[SearchedText]:
    """Continue each prompt by the best text that a search finds.

    Args:
        prompts: ids; each has its own search, whose result does not depend on the others.
        new: tokens to write.
        verifier: of this module, or any function of states -> (B,); several are combined by mean rank.
        second: one that is reported and not searched on.
        settings: method and budget; "paths" continues kept texts by masking a part of them again.
        generation: plan, order and shape; texts are written at once, not by blocks.
        steer: another change of the denoiser.

    Raises:
        ConfigError: settings contradict each other or the budget is too small.
        DataError: a prompt is too long or holds ids that are no tokens.
    """
    denoiser = _prepared(model, prompts, new, generation, steer)
    plan = plan_for(model.process, generation, new)
    out = []
    for number, prompt in enumerate(prompts):
        tokens, free = canvas([prompt], new, model)
        gen = torch.Generator().manual_seed(mixed_seed(seed, "search", number))
        found = search(
            settings, plan, denoiser, {"tokens": tokens, "mask": free}, gen, verifier, second=second
        )
        out.append(SearchedText(tuple(found.x["tokens"][0, -new:].tolist()), found))
        progress("search", number + 1, len(prompts))
    return out


def best_of(found: Found, sample: int = 0) -> list[Grown]:
    """What growing budgets of the same search give: the best of its first 1, 2, 4, ... whole candidates.

    The score rises with n by construction; the second verifier's need not. For "random" and "zero-order",
    whose candidates cost the same.
    """
    logs = [log for log in found.log if log.final]
    scores = torch.cat([log.scores[0, sample] for log in logs])
    count = len(scores)
    sizes = sorted({min(2**k, count) for k in range(count.bit_length() + 1)})
    out = []
    for n in sizes:
        best = int(scores[:n].argmax())
        second = None
        if all(log.second is not None for log in logs):
            second = float(torch.cat([log.second[sample] for log in logs])[best])  # type: ignore[index]
        out.append(Grown(n, found.calls * n // count, float(scores[best]), second))
    return out


def steer_particles(
    model: TextModel,
    prompts: Sequence[Sequence[int]],
    *,
    new: int,
    verifier: Any,
    particles: int = 8,
    scale: float = 1.0,
    kind: Literal["difference", "maximum", "total"] = "difference",
    generation: Generation = Generation(),
    seed: int = 0,
    steer: Steer | None = None,
) -> list[SteeredText]:
    """Draw from the model's own law times exp(scale x verifier), by weighted particles.

    Args:
        particles: texts per prompt, written together and resampled on the way.
        scale: how strongly the verifier counts.
        kind: how the verifier of half-written texts, filled in by the likeliest tokens, guides them; all
            three end with the same law, see `core.infer.potentials`.

    Raises:
        ConfigError: settings contradict each other.
    """
    potentials = {"difference": difference, "maximum": maximum, "total": total}
    if kind not in potentials:
        raise ConfigError(f"unknown potential '{kind}' (known: difference, maximum, total).")
    counted = _Counted(_prepared(model, prompts, new, generation, steer))
    plan = plan_for(model.process, generation, new)
    out = []
    for number, prompt in enumerate(prompts):
        tokens, free = canvas([prompt], new, model)
        x = spread({"tokens": tokens, "mask": free}, particles)
        gen = Seeds([mixed_seed(seed, "particles", number)], model.device)
        x = model.process.prior(x, gen.blocks(particles))
        counted.shown.clear()
        cloud = fk_sample(plan, counted, potentials[kind](verifier, scale=scale), x, gen)
        spent = sum(counted.shown) + len(plan.rows) * particles * getattr(verifier, "calls", 0)
        out.append(SteeredText(tuple(cloud.best()["tokens"][0, -new:].tolist()), cloud, spent))
    return out


@dataclass(frozen=True)
class _Counted:
    """A denoiser that notes how many sequences it is shown."""

    inner: Any
    shown: list[int] = field(default_factory=list)

    @property
    def process(self) -> Any:
        return self.inner.process

    @property
    def rowwise(self) -> bool:
        return getattr(self.inner, "rowwise", False)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.shown.append(batch_size(x))
        out: Posterior = self.inner(x, t, cond)
        return out


def _prepared(
    model: TextModel, prompts: Sequence[Sequence[int]], new: int, generation: Generation, steer: Steer | None
) -> Denoiser:
    check(model, prompts, new, generation)
    if generation.block_length is not None or model.config.block is not None:
        raise ConfigError("search and particles write a text at once, not by blocks.")
    denoiser = steered(denoiser_of(model), generation, model.tokenizer.eos_id)
    return denoiser if steer is None else steer(denoiser)


def _free(x: Any) -> tuple[Tensor, Tensor]:
    tokens, free = tokens_and_free(x)
    return tokens, torch.ones_like(tokens, dtype=torch.bool) if free is None else free


def _texts(x: Any, tokenizer: Tokenizer) -> list[str]:
    """Texts of a batch, each up to its end of text."""
    tokens, free = _free(x)
    out = []
    ends = (tokens == (-1 if tokenizer.eos_id is None else tokenizer.eos_id)) & free
    for row, end in zip(tokens.tolist(), ends.tolist(), strict=True):
        out.append(tokenizer.decode(row[: end.index(True) if True in end else None]))
    return out
