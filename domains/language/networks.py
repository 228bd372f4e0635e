"""The network of text: embedding, transformer trunk, and a head that is called on its own.

    tokens (B, L) -> hidden (B, L, width) -> logits of the rows asked for (K, V)

On average half of the rows of a training batch are masked, and a sampling step reveals a few: at V = 50257
the head costs more than the trunk of a small model, so it runs on those rows alone.

The embedding has rows for the V tokens, for the mask (id V) and for padding (id V + 1), which nothing
attends to. Without a time input the output for a masked token is its law given the visible tokens, whatever
the noise level: theorem 1 of Ou et al. 2024, arXiv:2406.03736.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.nets.transformer import Cache, Trunk
from core.surprise import token_surprise

__all__ = ["TextNet", "causal_nats"]

TOLD = 128  # width of the time vector


class TextNet(nn.Module):
    """Logits of each token; `hidden` and `head` are separate calls.

    Args:
        vocab: V.
        width, depth, heads, dropout: of the trunk.
        tied: whether the head shares the embedding's weights.
        causal: whether each position sees only itself and those before it.
        timed: whether the network is told the time.
    """

    def __init__(
        self,
        vocab: int,
        *,
        width: int,
        depth: int,
        heads: int,
        dropout: float = 0.0,
        tied: bool = False,
        causal: bool = False,
        timed: bool = False,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "vocab": vocab,
            "width": width,
            "depth": depth,
            "heads": heads,
            "dropout": dropout,
            "tied": tied,
            "causal": causal,
            "timed": timed,
        }
        self.vocab, self.causal = vocab, causal
        self.embed = nn.Embedding(vocab + 2, width)
        self.trunk = Trunk(width, depth, heads, dropout=dropout, told=TOLD if timed else None)
        self.norm = nn.LayerNorm(width)
        self.tell = (
            nn.Sequential(nn.Linear(TOLD, TOLD), nn.SiLU(), nn.Linear(TOLD, TOLD), nn.SiLU())
            if timed
            else None
        )
        self.bias = nn.Parameter(torch.zeros(vocab))
        self.weight = None if tied else nn.Parameter(torch.zeros(vocab, width))
        # Vectors of unit variance enter the trunk; a tied head sees the same weights unscaled.
        self.scale = width**0.5 if tied else 1.0
        nn.init.normal_(self.embed.weight, std=1 / self.scale)

    def hidden(
        self,
        tokens: Tensor,
        t: Tensor | float | None = None,
        *,
        attend: Tensor | None = None,
        positions: Tensor | None = None,
        past: Cache | None = None,
    ) -> Tensor:
        """Vectors (B, L, width) of tokens (B, L), after the last norm.

        Args:
            t: time, a number or (B,), for a network that is told it.
            attend: which keys each query sees, boolean, broadcast to (B, heads, L, S + L); padding is never
                seen.
            positions: (L,) or (B, L); counted from the first token that is no padding by default.
            past: keys and values of S earlier positions.
        """
        attend, positions = self._places(tokens, attend, positions, past)
        causal = self.causal and attend is None and past is None
        h = self.trunk(
            self.scale * self.embed(tokens),
            attend=attend,
            causal=causal,
            told=self._told(t, tokens),
            positions=positions,
            past=past,
        )
        return self.norm(h)

    def started(self, tokens: Tensor) -> Tensor:
        """What a causal network reads to predict tokens (B, L): those before, after the mask id as a start.

        In a row that is padded on the left the start stands on the last of the padding.
        """
        pad = self.vocab + 1
        before = torch.cat([torch.full_like(tokens[:, :1], self.vocab), tokens[:, :-1]], 1)
        return torch.where(tokens == pad, pad, torch.where(before == pad, self.vocab, before))

    def extend(
        self,
        tokens: Tensor,
        *,
        attend: Tensor | None = None,
        positions: Tensor | None = None,
        past: Cache | None = None,
    ) -> tuple[Tensor, Cache]:
        """The same, with the keys and values of past and present."""
        attend, positions = self._places(tokens, attend, positions, past)
        h, cache = self.trunk.extend(
            self.scale * self.embed(tokens), attend=attend, positions=positions, past=past
        )
        return self.norm(h), cache

    def head(self, rows: Tensor) -> Tensor:
        """Logits (K, V) of vectors (K, width)."""
        weight = self.embed.weight[: self.vocab] if self.weight is None else self.weight
        return functional.linear(rows, weight, self.bias)

    def forward(self, tokens: Tensor, t: Tensor | float | None = None) -> Tensor:
        """All logits, (B, L, V)."""
        return self.head(self.hidden(tokens, t))

    def _places(
        self, tokens: Tensor, attend: Tensor | None, positions: Tensor | None, past: Cache | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Hide padding from every query; count positions from the first token that is none."""
        pad = tokens == self.vocab + 1
        if past is not None or not bool(pad.any()):
            return attend, positions
        there = ~pad
        if positions is None:
            positions = (there.cumsum(1) - 1).clamp_min(0)
        # A row of padding alone would have nothing to see; it sees itself.
        seen = there[:, None, None] | torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)
        if self.causal:
            order = torch.arange(tokens.shape[1], device=tokens.device)
            seen = seen & (order[:, None] >= order)
        return seen if attend is None else seen & attend, positions

    def _told(self, t: Tensor | float | None, tokens: Tensor) -> Tensor | None:
        if self.tell is None:
            return None
        time = torch.as_tensor(0.0 if t is None else t, dtype=torch.float32, device=tokens.device)
        speed = torch.exp(
            torch.arange(TOLD // 2, dtype=torch.float32, device=tokens.device)
            * (-math.log(10_000.0) / (TOLD // 2))
        )
        angle = 1000 * time.expand(len(tokens))[:, None] * speed
        return self.tell(torch.cat([angle.cos(), angle.sin()], 1).to(self.embed.weight.dtype))


def causal_nats(net: TextNet, tokens: Tensor, where: Tensor | None = None) -> Tensor:
    """-ln p of each token given those before it, summed over `where` (B, L): (B,), float64.

    The text starts after a mask token. Padding is never seen; `where` leaves it out.
    """
    where = torch.ones_like(tokens, dtype=torch.bool) if where is None else where
    return token_surprise(net.head(net.hidden(net.started(tokens))[where]), tokens, where)
