"""Losses of token models: estimates of one bound on -ln p(x0), in nats per sequence.

With M the masked positions and l_i = -ln q(x0_i given the tokens that are left):

    name        draw                                        value
    lambda-dce  lambda uniform, mask each with prob. lambda  1 / lambda  sum_M l_i
    ao          k uniform on 1 .. d, mask k of d             d / k       sum_M l_i
    t-dce       t uniform on [eps, 1]                        w(t)        sum_M l_i,  w = -alpha' / (1 - alpha)
    t-dse       the same                                     score entropy, w1 = alpha / (1 - alpha):
                w(t) / w1  sum_M [ sum_v s_v - w1 ln s_x0 + w1 (ln w1 - 1) ],  s_v = w1 q_v

A normalised q makes the score entropy of a position equal to w(t) l_i, term by term. All four have one
expectation when alpha(1) = 0 (t-dce and t-dse: up to the share below eps). The published t-dce subtracts
ln w1 from each l_i (`offset`), which is zero in the mean and adds variance.

`rate` is the loss of the uniform process, which is told the time: with xb = V alpha 1(x0) + 1 - alpha, xt the
same for the predicted law, m = x_t and beta = -alpha' / alpha,

    (beta / V)  sum over positions of  V / xt_m - V / xb_m + sum_j (xb_j / xb_m) ln(xb_j xt_m / (xb_m xt_j))

Draws are stratified over the batch: lambda_b = (u_b + b) / B.

Sources: Ou et al. 2024, arXiv:2406.03736, theorem 1 and eqs. 3.5 to 3.10; Lou, Meng & Ermon 2024,
arXiv:2310.16834, eq. 5 (score entropy); Sahoo et al. 2024, arXiv:2406.07524, eq. 10; Sahoo et al. 2025,
arXiv:2506.10892, eq. 6 (rate).
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from core.denoise import Denoiser
from core.errors import ConfigError, unknown
from core.process.masking import Masking, tokens_and_free, with_tokens
from core.process.token_noise import UniformTokens
from core.state import Source, uniform
from core.surprise import hidden_surprise, row_sums
from core.train.samples import Batch

__all__ = ["TokenLoss", "hidden_share"]

Kind: TypeAlias = Literal["lambda-dce", "ao", "t-dce", "t-dse", "rate"]


@dataclass(frozen=True)
class TokenLoss:
    """One of the losses, (B,), for `core.train.fit`.

    Args:
        kind: a name of the module's table, or "rate" for the uniform process.
        eps: smallest time of t-dce, t-dse and rate.
        offset: t-dce with the published term.
        stratified: spread the draws evenly over the batch.
    """

    kind: Kind = "lambda-dce"
    eps: float = 1e-3
    offset: bool = False
    stratified: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown("loss", self.kind, get_args(Kind))
        if not 0 < self.eps < 1:
            raise ConfigError(f"eps must lie in (0, 1), got {self.eps}.")

    def __call__(self, denoiser: Denoiser, batch: Batch, gen: Source) -> Tensor:
        process: Any = denoiser.process
        expected = UniformTokens if self.kind == "rate" else Masking
        if not issubclass(type(process), expected):
            raise ConfigError(
                f"the loss '{self.kind}' is for {expected.__name__}, got {type(process).__name__}."
            )
        tokens, free = tokens_and_free(batch.x0)
        u = uniform((len(tokens),), gen, dtype=torch.float64, device=tokens.device)
        if self.stratified:
            u = (u + torch.arange(len(u), device=u.device)) / len(u)
        if self.kind == "rate":
            return self._rate(denoiser, batch, u, gen)
        if self.kind == "ao":
            length = torch.full_like(u, tokens.shape[1]) if free is None else free.sum(1).to(u)
            count = (length * u).ceil().clamp_min(1)
            hidden = _subset(tokens, free, count, gen)
            return hidden_surprise(denoiser, batch.x0, hidden, count / length, batch.cond) * (length / count)
        if self.kind == "lambda-dce":
            hidden = hidden_share(tokens, free, u, gen)
            return hidden_surprise(denoiser, batch.x0, hidden, u, batch.cond) / u.clamp_min(1e-12)
        t = self.eps + (1 - self.eps) * u
        hidden = hidden_share(tokens, free, 1 - process.alpha(t), gen)
        ratio = process.alpha(t) / (1 - process.alpha(t))
        if self.kind == "t-dse":
            return self._score_entropy(denoiser, batch, hidden, t, ratio)
        loss = hidden_surprise(denoiser, batch.x0, hidden, t, batch.cond)
        if self.offset:
            loss = loss - hidden.sum(1) * ratio.clamp_min(1e-300).log()
        return (1 - self.eps) * process.weight(t) * loss

    def _score_entropy(
        self, denoiser: Denoiser, batch: Batch, hidden: Tensor, t: Tensor, ratio: Tensor
    ) -> Tensor:
        tokens, _ = tokens_and_free(batch.x0)
        process = denoiser.process
        x = with_tokens(batch.x0, torch.where(hidden, process.mask_token, tokens))
        log_q = torch.log_softmax(denoiser(x, t, batch.cond).at(hidden).double(), -1)
        w1 = ratio[:, None].expand(hidden.shape)[hidden]
        log_s = w1.log() + log_q.gather(1, tokens[hidden].long()[:, None])[:, 0]
        each = (w1[:, None] * log_q.exp()).sum(1) - w1 * log_s + w1 * (w1.log() - 1)
        rate = (1 - self.eps) * process.weight(t) / ratio
        return rate * row_sums(each, hidden)

    def _rate(self, denoiser: Denoiser, batch: Batch, u: Tensor, gen: Source) -> Tensor:
        process = denoiser.process
        t = self.eps + (1 - 2 * self.eps) * u
        x, _ = process.perturb(batch.x0, t, gen)
        tokens, free = tokens_and_free(batch.x0)
        now, _ = tokens_and_free(x)
        vocab = process.vocab
        alpha = process.alpha(t)[:, None, None]
        bar = vocab * alpha * functional.one_hot(tokens.long(), vocab) + (1 - alpha)
        guess = vocab * alpha * torch.softmax(denoiser(x, t, batch.cond).logits.double(), -1) + (1 - alpha)
        here = now.long()[..., None]
        bar_m, guess_m = bar.gather(-1, here), guess.gather(-1, here)
        inner = (bar / bar_m * (bar.log() + guess_m.log() - bar_m.log() - guess.log())).sum(-1)
        each = vocab / guess_m[..., 0] - vocab / bar_m[..., 0] + inner
        each = each if free is None else each * free
        beta = -process.survival.slope(t) / process.alpha(t)
        return (1 - 2 * self.eps) * beta / vocab * each.sum(1)


def hidden_share(tokens: Tensor, free: Tensor | None, share: Tensor, gen: Source) -> Tensor:
    """Positions hidden independently with probability share (B,), among the free ones."""
    hidden = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device) < share[:, None]
    return hidden if free is None else hidden & free


def _subset(tokens: Tensor, free: Tensor | None, count: Tensor, gen: Source) -> Tensor:
    """A uniform subset of `count` free positions of each sequence."""
    key = uniform(tokens.shape, gen, dtype=torch.float64, device=tokens.device)
    key = key if free is None else key.masked_fill(~free, 2.0)
    return key.argsort(1).argsort(1) < count[:, None]
