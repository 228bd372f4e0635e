"""Energies of whole texts: p(x0 given x_t) proportional to q(x0 given x_t) exp(-E(x0, x_t)), q the predictor.

The predictor draws every masked token on its own; an energy says how well the draws go together.

    energy   E(x0, x_t)                                                     costs, per candidate
    ar       -ln p(x0) + ln q(x0 given x_t),  p causal, over all positions  one causal pass
    coar     the same, with ln p over the masked positions alone            one causal pass
    nce      a learned number, see `energy_training`                        one bidirectional pass

Under `coar` a visible token is carried over with probability one, so that the product q exp(-E) is the causal
model's law of the masked tokens in order: it sums to one over them, and log Z = 0. Under the other two log Z
must be estimated.

An energy is called as `energy(x0 (K, L), x_t, log_q) -> (K,)` in nats. x_t is a tensor (K, L), or a state
with "tokens" and "mask"; `log_q` = ln q(x0 given x_t), (K,), saves a call of the predictor where it is known.

Source: Xu et al. 2024, arXiv:2410.21357 (EDLM), sections 3.3 and 4.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.denoise import Denoiser
from core.errors import ConfigError
from core.nets.transformer import Trunk
from core.process import Masking
from core.process.masking import tokens_and_free
from core.surprise import token_surprise
from domains.language.networks import TextNet, causal_nats
from domains.language.radd import TextDenoiser

__all__ = ["CausalEnergy", "Energy", "PairEnergy", "log_proposal", "masked_of"]


class Energy(Protocol):
    """Anything that weighs texts; lower is likelier. `normalised`: whether log Z is known to be 0."""

    @property
    def normalised(self) -> bool: ...

    def __call__(self, x0: Tensor, x: Any, log_q: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class CausalEnergy:
    """`ar`, or `coar` with `carry`: what a causal model says of a text beyond the predictor.

    Args:
        net: causal, of the predictor's vocabulary.
        denoiser: the predictor, asked where `log_q` is not given.
        carry: score the masked positions alone.
    """

    net: TextNet
    denoiser: Denoiser
    carry: bool = False

    def __post_init__(self) -> None:
        if not self.net.causal:
            raise ConfigError("this energy needs a causal network, got one that sees both ways.")
        if self.net.vocab != self.denoiser.process.vocab:
            raise ConfigError(
                f"the causal model has {self.net.vocab} tokens, the predictor {self.denoiser.process.vocab}.",
                hint="Train both with one tokenizer.",
            )

    @property
    def normalised(self) -> bool:
        return self.carry

    def __call__(self, x0: Tensor, x: Any, log_q: Tensor | None = None) -> Tensor:
        masked = masked_of(x, self.net.vocab)
        with torch.no_grad():
            log_q = log_proposal(self.denoiser, x0, x) if log_q is None else log_q
            return log_q + causal_nats(self.net, x0, masked if self.carry else x0 < self.net.vocab)


class PairEnergy(nn.Module):
    """`nce`: one number for a text and what was visible of it, from a bidirectional network that sees both.

    The embeddings of both tokens of a position are joined and projected, and the vectors that leave the trunk
    are averaged over all positions but padding. A fresh one gives 0, which leaves the predictor as it is.

    Args:
        process: masks of the predictor.
        width, depth, heads, dropout: of the trunk.
    """

    normalised = False

    def __init__(self, process: Masking, *, width: int, depth: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"width": width, "depth": depth, "heads": heads, "dropout": dropout}
        self.process = process
        self.embed = nn.Embedding(process.vocab + 2, width)
        self.join = nn.Linear(2 * width, width)
        self.trunk = Trunk(width, depth, heads, dropout=dropout)
        self.norm = nn.LayerNorm(width)
        self.inner, self.score = nn.Linear(width, width), nn.Linear(width, 1)
        for layer in (self.join, self.score):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.score.weight)
        with torch.no_grad():  # a visible token, the same twice, enters as the predictor's own vector
            self.join.weight.copy_(torch.eye(width).repeat(1, 2) / 2)

    @classmethod
    def from_predictor(cls, denoiser: TextDenoiser) -> "PairEnergy":
        """A fresh one with the predictor's embedding and trunk. Draws from torch's global generator.

        Raises:
            ConfigError: the predictor is causal, told the time, or not of masks.
        """
        net = denoiser.net
        if not isinstance(denoiser.process, Masking) or net.causal or net.tell is not None:
            raise ConfigError(
                "an energy starts from a predictor of masked text.", hint="Use a model of kind 'radd'."
            )
        shape = {key: net.config[key] for key in ("width", "depth", "heads")}
        made = cls(denoiser.process, **shape, dropout=net.config["dropout"])
        for mine, theirs in ((made.embed, net.embed), (made.trunk, net.trunk), (made.norm, net.norm)):
            mine.load_state_dict(theirs.state_dict())
        with torch.no_grad():
            made.embed.weight.mul_(net.scale)
        return made.to(net.bias.device)

    def forward(self, x0: Tensor, x: Any, log_q: Tensor | None = None) -> Tensor:
        """E, (K,), float64."""
        tokens, _ = tokens_and_free(x)
        there = tokens != self.process.vocab + 1
        attend = positions = None
        if not bool(there.all()):
            own = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
            attend, positions = there[:, None, None] | own, (there.cumsum(1) - 1).clamp_min(0)
        h = self.join(torch.cat([self.embed(tokens), self.embed(x0)], -1))
        h = self.norm(self.trunk(h, attend=attend, positions=positions))
        share = there / there.sum(1, keepdim=True).clamp_min(1)
        pooled = (h * share[..., None].to(h.dtype)).sum(1)
        out: Tensor = self.score(functional.gelu(self.inner(pooled)))[:, 0]
        return out.double()


def masked_of(x: Any, mask: int) -> Tensor:
    """Positions of a state that are masked and may change, (B, L) boolean."""
    tokens, free = tokens_and_free(x)
    return tokens == mask if free is None else (tokens == mask) & free


def log_proposal(denoiser: Denoiser, x0: Tensor, x: Any) -> Tensor:
    """ln q(x0 given x_t), (K,), float64: over the masked positions of x_t."""
    where = masked_of(x, denoiser.process.mask_token)
    return -token_surprise(denoiser(x, 1.0).at(where), x0, where)
