"""The block of the spectral codec: ConvNeXt in one dimension, over frames that lie (B, T, C)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Down", "Up"]

KERNEL = 7


class Block(nn.Module):
    """x + scale * out(silu(wide(norm(depthwise(x))))), each frame seeing three on either side.

    Two deviations from the source: SiLU for GELU (half the time on a CPU), and a layer scale that starts at
    0.1, since these networks are shallow.

    Source: Liu et al. 2022, arXiv:2201.03545, figure 4, in one dimension.
    """

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, expansion * width)
        self.out = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        # The same convolution, written in two dimensions: three times as fast for frames that lie (T, C).
        plane = x.transpose(1, 2)[:, :, None]
        weight, bias = self.depthwise.weight[:, :, None], self.depthwise.bias
        y = F.conv2d(plane, weight, bias, padding=(0, KERNEL // 2), groups=x.shape[-1])[:, :, 0].transpose(
            1, 2
        )
        return x + self.scale * self.out(F.silu(self.wide(self.norm(y))))


class Down(nn.Module):
    """Convolution of kernel and stride `factor`: (B, T, wide) -> (B, T / factor, narrow)."""

    def __init__(self, before: int, after: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(before * factor, after)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.reshape(len(x), x.shape[1] // self.factor, -1))


class Up(nn.Module):
    """Transposed convolution of kernel and stride `factor`: (B, T, before) -> (B, T factor, after)."""

    def __init__(self, before: int, after: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.linear = nn.Linear(before, after * factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).reshape(len(x), x.shape[1] * self.factor, -1)
