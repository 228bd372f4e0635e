"""Networks that an ultrasound prior may use: the core's small U-Net, or MONAI's."""

from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.extras import require
from core.nets.unet import UNet
from domains.ultrasound.config import PriorConfig

__all__ = ["MonaiUNet", "build_net", "rebuild_net"]


class MonaiUNet(nn.Module):
    """MONAI's `DiffusionModelUNet` as a network of continuous noise levels.

    MONAI embeds a time step as cosines and sines of up to one radian per unit; c_noise = ln(sigma) / 4 spans
    about two units, so it is stretched by 250 to cover the range that its embedding resolves.

    Args:
        channels: of the state, 1 (RF) or 2 (IQ).
        widths: channels per level, each a multiple of 8 (MONAI's group count is set to 8).
        blocks: residual blocks per level.
        attention: attention at the lowest level.
    """

    def __init__(self, channels: int, *, widths: tuple[int, ...], blocks: int, attention: bool) -> None:
        super().__init__()
        if any(width % 8 for width in widths):
            raise ConfigError(f"MONAI's network needs widths that are multiples of 8, got {list(widths)}.")
        nets = require("monai.networks.nets", extra="ultrasound")
        self.config = {"channels": channels, "widths": list(widths), "blocks": blocks, "attention": attention}
        self.multiple = 2 ** (len(widths) - 1)
        self.net = nets.DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels,
            out_channels=channels,
            channels=tuple(widths),
            attention_levels=(False,) * (len(widths) - 1) + (attention,),
            num_res_blocks=blocks,
            num_head_channels=8,
            norm_num_groups=8,
        )

    def forward(self, x: Tensor, c_noise: Tensor, cond: Tensor | None = None) -> Tensor:
        """The network's answer, like x (B, C, sample, line), for c_noise (B,); any size, padded by
        reflection.
        """
        h, w = x.shape[-2:]
        pad = (0, -w % self.multiple, 0, -h % self.multiple)
        padded = torch.nn.functional.pad(x, pad, mode="reflect") if any(pad) else x
        return self.net(padded, 250 * c_noise)[..., :h, :w]


def build_net(config: PriorConfig, channels: int) -> UNet | MonaiUNet:
    """An untrained network of this recipe for 1 (RF) or 2 (IQ) channels; its `config` rebuilds it."""
    if config.net == "monai":
        return MonaiUNet(channels, widths=config.widths, blocks=config.blocks, attention=config.attention)
    flags = (False,) * (len(config.widths) - 1) + (config.attention,)
    return UNet(channels, channels, widths=config.widths, blocks=config.blocks, attention=flags, norm="local")


def rebuild_net(record: dict[str, Any]) -> UNet | MonaiUNet:
    """The network whose settings a checkpoint stored, as {"kind": "unet" | "monai", ...}."""
    settings = dict(record)
    if settings.pop("kind", "unet") == "monai":
        return MonaiUNet(
            settings["channels"],
            widths=tuple(settings["widths"]),
            blocks=settings["blocks"],
            attention=settings["attention"],
        )
    return UNet(**settings)
