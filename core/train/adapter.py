"""Adapters: a frozen network with a few trained numbers on top.

    weight of a convolution or linear layer    W + (scale / rank) up down,   up (O, r), down (r, I)
    bias, gain, offset (any vector or scalar)  b + shift
    everything else                            frozen

`up` and `shift` start at zero, so that a new adapter is the frozen network and weight decay leads back to it;
published adapters train copies of the vectors, which decay to zero. The network itself is neither copied nor
changed, so any number of adapters share it, and a checkpoint of an adapter holds its own numbers only.

Sources: Hu et al. 2021, arXiv:2106.09685, eq. 3; Go et al. 2022, arXiv:2212.05973, section 3.2 (low rank on
convolutions too, with biases and norms).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from core.errors import ConfigError

__all__ = ["Adapted"]

LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Adapted(nn.Module):
    """A network whose trained parameters are the adapter's; called like the frozen network.

    Args:
        frozen: in evaluation mode, on its device; it is shared, not registered: `fit` and checkpoints see the
            adapter alone, and moving the adapter does not move it.
        rank: r above, at most what the layer has.
        scale: strength of the low-rank part.
        gen: draws `down`.
    """

    frozen: nn.Module

    def __init__(
        self, frozen: nn.Module, *, rank: int = 16, scale: float = 8.0, gen: torch.Generator
    ) -> None:
        super().__init__()
        if frozen.training:
            raise ConfigError(
                "an adapter needs a network in evaluation mode: dropout and batch norms stay as they are.",
                hint="Call .eval() on it first.",
            )
        if rank < 1 or not scale > 0:
            raise ConfigError(f"an adapter needs rank >= 1 and scale > 0, got {rank} and {scale}.")
        object.__setattr__(self, "frozen", frozen)  # not a submodule
        self.config: dict[str, Any] = {"rank": rank, "scale": scale}
        self.up, self.down, self.shift = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        low = {f"{name}.weight" for name, layer in frozen.named_modules() if isinstance(layer, LAYERS)}
        low = {name.removeprefix(".") for name in low}
        for name, value in frozen.named_parameters():
            key = name.replace(".", "/")
            if value.ndim < 2:
                self.shift[key] = nn.Parameter(torch.zeros_like(value))
            elif name in low:
                rows, columns = len(value), value[0].numel()
                r = min(rank, rows, columns)
                drawn = torch.randn(r, columns, generator=gen, dtype=torch.float64) / math.sqrt(columns)
                self.down[key] = nn.Parameter(drawn.to(value))
                self.up[key] = nn.Parameter(value.new_zeros(rows, r))

    def weights(self) -> dict[str, Tensor]:
        """All weights of the network with the adapter merged in, by the frozen network's names."""
        out = {}
        for name, value in self.frozen.named_parameters():
            key = name.replace(".", "/")
            if key in self.shift:
                out[name] = value.detach() + self.shift[key]
            elif key in self.up:
                up, down = self.up[key], self.down[key]
                strength = self.config["scale"] / down.shape[0]
                out[name] = value.detach() + strength * (up @ down).reshape(value.shape)
            else:
                out[name] = value.detach()
        return out

    def forward(self, *args: Any) -> Any:
        return functional_call(self.frozen, self.weights(), args)

    @property
    def share(self) -> float:
        """Trained numbers over those of the frozen network."""
        own = sum(p.numel() for p in self.parameters())
        return own / sum(p.numel() for p in self.frozen.parameters())
