"""Steering of token models: how values are chosen, which are forbidden, how strongly a prompt is followed.

    shaped     temperature, top-k, top-p, min-p, repetition penalty, banned tokens: changes the law
    prompted   logits of the model with the prompt, plus g times what the prompt changed of them

Each is Denoiser -> Denoiser and works on the rows that a plan asks for, so that nothing is computed for the
rest of the sequence.

Sources: Holtzman et al. 2020, arXiv:1904.09751 (top-p); Nguyen et al. 2024, arXiv:2407.01082 (min-p); Keskar
et al. 2019, arXiv:1909.05858, eq. 2 (repetition penalty); Nie et al. 2025, arXiv:2502.09992, appendix B.3
(prompt guidance).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior, TokenPosterior
from core.errors import ConfigError
from core.process.masking import tokens_and_free, with_tokens

__all__ = ["Shape", "hooked", "prompted", "shaped"]


@dataclass(frozen=True)
class Shape:
    """How the law of a token is bent before it is drawn from. The defaults leave it as it is.

    Args:
        temperature: logits are divided by it; 0 takes the most probable token.
        top_k: tokens that are kept, the most probable ones; None keeps all.
        top_p: keep the smallest set of tokens of this total probability, in (0, 1].
        min_p: drop tokens less probable than this share of the most probable one, in [0, 1).
        repetition: logits of tokens that the sequence holds already are divided (positive) or multiplied
            (negative) by it, at least 1.
        banned: token ids that are never drawn.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition: float = 1.0
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be at least 0, got {self.temperature}.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie in (0, 1], got {self.top_p}.")
        if not 0 <= self.min_p < 1:
            raise ConfigError(f"min_p must lie in [0, 1), got {self.min_p}.")
        if not self.repetition >= 1:
            raise ConfigError(f"the repetition penalty must be at least 1, got {self.repetition}.")

    @property
    def exact(self) -> bool:
        """Whether the law of the model is left as it is."""
        return self == Shape()

    def __call__(self, logits: Tensor) -> Tensor:
        """Bent logits, (K, V) -> (K, V); what is dropped is -inf."""
        if self.banned:
            logits = logits.index_fill(-1, torch.tensor(self.banned, device=logits.device), -torch.inf)
        if self.temperature == 0:
            best = torch.full_like(logits, -torch.inf)
            return best.scatter(-1, logits.argmax(-1, keepdim=True), 0.0)
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p < 1:
            values, index = logits.sort(-1, descending=True)
            law = torch.softmax(values.double(), -1)
            outside = law.cumsum(-1) - law >= self.top_p
            logits = logits.masked_fill(outside.gather(-1, index.argsort(-1)), -torch.inf)
        if self.min_p > 0:
            law = torch.softmax(logits.double(), -1)
            logits = logits.masked_fill(law < self.min_p * law.amax(-1, keepdim=True), -torch.inf)
        return logits


@dataclass(frozen=True)
class Steered:
    """A token denoiser made of another; rows of the batch stay independent where they were."""

    process: Any
    answer: Callable[[Any, Any, Any], Posterior]
    rowwise: bool

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return self.answer(x, t, cond)


def shaped(denoiser: Denoiser, shape: Shape) -> Denoiser:
    """Bend the law of every token; the model itself where `shape` changes nothing."""
    if shape.exact:
        return denoiser

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        tokens, _ = tokens_and_free(x)
        posterior = denoiser(x, t, cond)

        def bend(logits: Tensor, where: Tensor) -> Tensor:
            return shape(_repeated(logits, tokens, where, shape.repetition))

        return TokenPosterior(lambda where: bend(posterior.at(where), where), tokens.shape)

    return _like(denoiser, answer)


def prompted(denoiser: Denoiser, strength: float) -> Denoiser:
    """logits + g (logits - logits with the prompt masked). g = 0 costs one evaluation, else two.

    The prompt is what may not change, so the state must say it ("mask").
    """
    if strength == 0:
        return denoiser

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        tokens, free = tokens_and_free(x)
        if free is None:
            raise ConfigError("prompt guidance needs a prompt.", hint="Mark it in the state's mask.")
        mask = denoiser.process.mask_token  # ids beyond it are padding
        blank = with_tokens(x, torch.where(free | (tokens > mask), tokens, mask))
        told, plain = denoiser(x, t, cond), denoiser(blank, t, cond)

        def weigh(where: Tensor) -> Tensor:
            with_, without = (torch.log_softmax(out.at(where), -1) for out in (told, plain))
            return with_ + strength * (with_ - without)

        return TokenPosterior(weigh, tokens.shape)

    return _like(denoiser, answer)


def hooked(denoiser: Denoiser, hook: Callable[[Any, Any, Tensor, Tensor], Tensor]) -> Denoiser:
    """Let a function of the caller change logits: `hook(t, x, logits (K, V), where (B, L)) -> (K, V)`."""

    def answer(x: Any, t: Any, cond: Any) -> Posterior:
        tokens, _ = tokens_and_free(x)
        posterior = denoiser(x, t, cond)
        return TokenPosterior(lambda where: hook(t, x, posterior.at(where), where), tokens.shape)

    return _like(denoiser, answer)


def _like(denoiser: Any, answer: Callable[[Any, Any, Any], Posterior]) -> Steered:
    return Steered(denoiser.process, answer, getattr(denoiser, "rowwise", False))


def _repeated(logits: Tensor, tokens: Tensor, where: Tensor, penalty: float) -> Tensor:
    """Weaken the tokens that each sequence holds already."""
    if penalty == 1:
        return logits
    vocab = logits.shape[-1]
    held = torch.zeros(len(tokens), vocab + 1, dtype=torch.bool, device=logits.device)
    held.scatter_(1, tokens.long().clamp(0, vocab), True)
    row = where.nonzero()[:, 0]
    weaker = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(held[row, :vocab], weaker, logits)
