"""Uniform corruption of tokens: each keeps its value with probability alpha(t), else it is drawn anew.

    q(x_t given x_0) = alpha_t 1(x_0) + (1 - alpha_t) / V

The step back from t to s under the predicted law p of clean tokens, with a = alpha_t / alpha_s and x_t = m:

    plug-in   proportional to  [a 1(x_s = m) + (1 - a) / V] [alpha_s p(x_s) + (1 - alpha_s) / V]
    mixture   mean over x_0 ~ p of the same with a one-hot p, each normalised first

They want different laws p. The mixture is exact for the posterior of a token given all of x_t, its own noisy
value included; the plug-in form, and with it the bound in `core.train.token_loss`, for its law given the
*other* noisy tokens alone, since the form weighs the token's own value itself.

Sources: Austin et al. 2021, arXiv:2107.03006, eqs. 3 and 4; Sahoo et al. 2025, arXiv:2506.10892, eq. 4.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from core.errors import ConfigError
from core.process.masking import survival_of, tokens_and_free, with_tokens
from core.process.survival import LINEAR, Survival
from core.state import Source, per_sample, uniform

__all__ = ["Form", "UniformTokens", "redrawn"]

Form: TypeAlias = Literal["plug-in", "mixture"]


@dataclass(frozen=True)
class UniformTokens:
    """Uniform process on tokens 0 .. vocab - 1. States as for `Masking`; its denoiser is told the time."""

    vocab: int
    survival: Survival = LINEAR

    def __post_init__(self) -> None:
        if self.vocab < 2:
            raise ConfigError(f"vocab must be at least 2, got {self.vocab}.")
        object.__setattr__(self, "survival", survival_of(self.survival))

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, 1.0

    def alpha(self, t: Any) -> Any:
        """Probability that a token was not drawn anew."""
        return self.survival.alpha(t)

    def perturb(self, x0: Any, t: Any, gen: Source | None) -> tuple[Any, Tensor]:
        """Redraw tokens of x0; t is a scalar or (B,). Returns x_t and the positions that were drawn anew."""
        tokens, free = tokens_and_free(x0)
        keep = self.alpha(t)
        keep = per_sample(keep, tokens) if isinstance(keep, Tensor) else keep
        where: dict[str, Any] = {"dtype": torch.float64, "device": tokens.device}
        redrawn = uniform(tokens.shape, gen, **where) >= keep
        redrawn = redrawn if free is None else redrawn & free
        fresh = (uniform(tokens.shape, gen, **where) * self.vocab).long().to(tokens.dtype)
        return with_tokens(x0, torch.where(redrawn, fresh, tokens)), redrawn

    def posterior(self, x: Tensor, probs: Tensor, s: float, t: float, form: Form = "plug-in") -> Tensor:
        """Law of x_s given x_t = x and a law of the clean tokens, (B, L, vocab)."""
        return redrawn(x, probs, self.alpha(t), self.alpha(s), form)

    def prior(self, like: Any, gen: Source | None, t: float | None = None) -> Any:
        """Tokens drawn uniformly, shaped like `like`; those that may not change stay."""
        tokens, free = tokens_and_free(like)
        drawn = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device) * self.vocab
        drawn = drawn.long().to(tokens.dtype)
        return with_tokens(like, drawn if free is None else torch.where(free, drawn, tokens))


def redrawn(x: Tensor, probs: Tensor, alpha_t: float, alpha_s: float, form: Form) -> Tensor:
    """Law of x_s, (..., V), as in the module's formulas; x (...), probs (..., V)."""
    vocab = probs.shape[-1]
    a = alpha_t / alpha_s
    here = torch.nn.functional.one_hot(x.long(), vocab).to(probs)
    left = a * here + (1 - a) / vocab
    if form == "plug-in":
        law = left * (alpha_s * probs + (1 - alpha_s) / vocab)
    else:
        share = probs / (alpha_t * here + (1 - alpha_t) / vocab)  # p(x0) / q(x_t = m given x0)
        law = left * (alpha_s * share + (1 - alpha_s) / vocab * share.sum(-1, keepdim=True))
    return law / law.sum(-1, keepdim=True)
