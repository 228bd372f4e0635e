"""The backbone of TSDiff: residual blocks around state-space layers, over windows (B, channels, L).

    h = ReLU(W_in x),  e = SiLU(W SiLU(W embed(t)))                      H wide
    block:  z = h + W_t e;  z = z + dropout(S4(norm z)) [+ W_f features];  z = tanh(z) sigmoid(z)
            h <- h + W_out z;  skip <- skip + W_skip z
    answer = W ReLU(W skip) [+ x]

Channel 0 of a window is the series, the others are the same series at its lags; the answer has as many
channels. All layers but the state-space ones act at each position alone.

Parameters: 142,733 with 13 channels and 141,185 with 1 (H = 64, three blocks, N = 64). The published network
counts 193,421 and 192,065: its S4 kernels carry a rank-one correction P and an input matrix B of the same
size as C's half, 3 x 2 x 64 x 64 x 2 = 49,152 numbers that a diagonal kernel does not have (B multiplies C
and is absorbed), and three feature layers that an unconditional model never calls: 3 x 64 x (7 + 1) = 1,536
numbers for business days, 3 x 64 x (8 + 1) = 1,728 for hours.

Source: Kollovieh et al. 2023, arXiv:2307.11494, appendix B and its code; the block is that of Alcaraz &
Strodthoff 2022, arXiv:2208.09399, simplified. Deviations: S4D in place of S4, and times count from 1 where
the code counts from 0 (a rotation of the embedding, which the dense layer after it undoes).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ConfigError
from core.nets.state_space import S4D, pointwise

__all__ = ["Backbone", "embedded"]

EMBEDDING = 128  # width of the step embedding


class Backbone(nn.Module):
    """A denoising network `net(x, t, cond)` over windows; see the module docstring.

    Args:
        channels: of the noisy window and of the answer.
        hidden: H.
        blocks: residual blocks.
        states: N, pairs of states per channel of a state-space layer.
        features: channels of `cond["features"]`, added in every block; 0 for an unconditional network.
        init_skip: add the noisy window to the answer.
        dropout: share of channels dropped after each state-space layer.
        time_scale: steps per unit of t; 1 where t counts steps, 100 or more where it runs from 0 to 1.
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden: int = 64,
        blocks: int = 3,
        states: int = 64,
        features: int = 0,
        init_skip: bool = False,
        dropout: float = 0.0,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if min(channels, hidden, blocks) < 1 or features < 0:
            raise ConfigError(
                f"a backbone needs channels, hidden and blocks >= 1 and features >= 0, got {channels}, "
                f"{hidden}, {blocks} and {features}."
            )
        self.config: dict[str, Any] = {
            "channels": channels,
            "hidden": hidden,
            "blocks": blocks,
            "states": states,
            "features": features,
            "init_skip": init_skip,
            "dropout": dropout,
            "time_scale": time_scale,
        }
        self.features, self.init_skip, self.time_scale = features, init_skip, time_scale
        self.enter = nn.Linear(channels, hidden)
        self.clock = nn.Sequential(
            nn.Linear(EMBEDDING, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.blocks = nn.ModuleList([Block(hidden, states, features, dropout) for _ in range(blocks)])
        self.mix = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        """The answer, like x (B, channels, L), for times t (B,); `cond["features"]` is (B, features, L)."""
        features = cond.get("features") if self.features else None
        clock = self.clock(embedded(self.time_scale * t))
        h = pointwise(x, self.enter.weight, self.enter.bias).relu()
        # The biases of the output layers are the same at every position: `moved` and `left` carry them to
        # where they are read, and no pass over (B, H, L) is spent on adding them.
        moved = left = torch.zeros_like(self.mix.bias)
        skip: Tensor | None = None
        for block in self.blocks:
            assert isinstance(block, Block)
            h, skip = block(h, block.step(clock) + moved, skip, features)
            first, second = block.out.bias.chunk(2)
            moved, left = moved + first, left + second
        assert skip is not None
        out = pointwise(skip, self.mix.weight, self.mix(left)).relu()
        return pointwise(out, self.leave.weight, self.leave.bias, onto=x if self.init_skip else None)


class Block(nn.Module):
    """One residual block: (h, clock, skip) -> (h, skip)."""

    def __init__(self, hidden: int, states: int, features: int, dropout: float) -> None:
        super().__init__()
        self.step = nn.Linear(hidden, hidden)
        self.s4 = S4D(hidden, states=states)
        self.side = nn.Linear(features, hidden) if features else None
        self.out = nn.Linear(hidden, 2 * hidden)
        self.dropout = dropout

    def forward(
        self, h: Tensor, step: Tensor, skip: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """h and skip without the biases of the output layer; `step` is (B, H)."""
        z = h + step[..., None]
        if self.dropout and self.training:
            z = z + F.dropout1d(self.s4(z), self.dropout)
        else:
            z = self.s4(z, residual=z)
        if self.side is not None and features is not None:
            z = pointwise(features, self.side.weight, self.side.bias, onto=z)
        z = z.tanh() * z.sigmoid()
        # Each half of the output layer adds onto what it belongs to: no (B, 2 H, L) tensor is made and cut.
        forth, aside = self.out.weight.chunk(2)
        return pointwise(z, forth, onto=h), pointwise(z, aside, onto=skip)


def embedded(t: Tensor) -> Tensor:
    """Sines and cosines of t (B,) at frequencies exp(-ln(10000) i / 63), i = 0 .. 63, (B, 128)."""
    half = EMBEDDING // 2
    rate = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half, dtype=t.dtype, device=t.device))
    angle = t[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1)
