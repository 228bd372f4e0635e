"""SongDiT: the flow of song latents given lyrics, style and surrounding music, a transformer over frames.

    input      [noisy latent | context latent | kept | text | style | time] -> width, by one linear layer
    place      h <- h + mish(conv_31 mish(conv_31 h)), grouped
    trunk      blocks of LLaMA with full attention; after each of the first half h <- h + silu(W text)
    output     adaptive layer norm from the time vector, one linear layer back to the latents

The time vector adds what small networks make of sinusoids of the diffusion time, of where the crop starts, of
how long the song is, and, in a student, of where a jump ends and of the weight of guidance. The last layers
of the output, of the text branches and of a student's own clocks begin at zero.

With the preset "diffrhythm-base" this is the published network to the last weight: 1,109,315,648 of them.
What our own models add: the mask of what is kept, per stem; a row for lyrics that are not told; sections and
singers; the length of the song at any length.

Frames that `valid` declares padding change nothing elsewhere.

Sources: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, section 3.3, and its public code for the sizes;
Touvron et al. 2023, arXiv:2302.13971 (blocks).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigError
from core.nets.transformer import Trunk
from domains.music.phone_embedding import PhoneEmbedding, hidden

__all__ = ["SongDiT"]

SINUSOIDS = 256  # features of a clock
PERIODS = 1000.0  # what a clock's number is multiplied by before its sinusoids
KERNEL, GROUPS = 31, 16  # of the position convolutions
WEIGHT_UNIT = 10.0  # a guidance weight of 10 reads as 1 on its clock


class SongDiT(nn.Module):
    """The network; `config` holds the settings that rebuild it.

    Args:
        channels: of the latents, all stems together.
        width, depth, heads: of the trunk; its inner layer is four times as wide.
        stems: parts side by side in the channels: 1 a mix, 2 voice and backing.
        phones: sounds of the inventory, without the filler.
        text, text_blocks: width and ConvNeXt blocks of the lyrics.
        style: length of a style vector.
        time: width of the time vector.
        sections, singers: names that a frame can carry; 0 for none.
        total: the length of the song is told.
        kept: the mask of given context is told, one channel per stem.
        null_row: hidden lyrics differ from silence.
        student: a flow map, told where its jumps end and the weight of guidance.
        horizon_s: seconds that read as 1 on the clocks of start and length.
        max_frames: longest canvas that it is trained for, frames.
    """

    def __init__(
        self,
        channels: int = 64,
        width: int = 160,
        depth: int = 6,
        heads: int = 5,
        *,
        stems: int = 2,
        phones: int = 363,
        text: int = 96,
        text_blocks: int = 2,
        style: int = 32,
        time: int = 160,
        sections: int = 0,
        singers: int = 0,
        total: bool = True,
        kept: bool = True,
        null_row: bool = True,
        student: bool = False,
        horizon_s: float = 300.0,
        max_frames: int = 256,
    ) -> None:
        super().__init__()
        if channels % stems or width % GROUPS:
            raise ConfigError(
                f"channels must be a multiple of the {stems} stems and width of {GROUPS}, got {channels} and "
                f"{width}."
            )
        self.config = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self.channels, self.stems, self.style, self.max_frames = channels, stems, style, max_frames
        self.horizon_s = horizon_s
        self.text = PhoneEmbedding(
            phones, text, text_blocks, sections=sections, singers=singers, null_row=null_row
        )
        self.clock, self.start = _Clock(time), _Clock(time)
        self.total = _Clock(time) if total else None
        self.ends, self.stress = (_Clock(time, silent=True) if student else None for _ in range(2))
        self.kept = stems if kept else 0
        self.enter = nn.Linear(2 * channels + self.kept + text + style + time, width)
        self.place = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=GROUPS) for _ in range(2)
        )
        self.trunk = Trunk(width, depth, heads, gated=True)
        self.inject = nn.ModuleList(nn.Linear(text, width) for _ in range(depth // 2))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.adapt = nn.Linear(time, 2 * width)
        self.leave = nn.Linear(width, channels)
        for layer in (*self.inject, self.adapt, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, cond: Mapping[str, Any] | None = None) -> Tensor:
        """The flow eps - x_0 at noisy latents, or F(x, t, s) of a student.

        Args:
            x: (B, channels, L), standardised.
            t: (B,), 0 for data and 1 for noise.
            cond: what is known; every entry may be missing.
                phones, sections, singers   ids (B, L); or `text` (B, L, text), what `embed` made of them
                style                       (B, S), or (B, L, S) where it changes within the song
                start, total                seconds, (B,)
                context                     latents (B, channels, L)
                keep                        (B, 1 or stems, L), 1 where context is given
                valid                       (B, L) bool
                has_lyrics, has_style, has_context    (B,) bool
                to, weight                  of a student: time where the jump ends, weight of guidance, (B,)

        Raises:
            ConfigError: a style vector of another length, or latents of another number of channels.
        """
        cond = cond or {}
        _, channels, length = x.shape
        if channels != self.channels:
            raise ConfigError(f"the network is for {self.channels} channels of latents, got {channels}.")
        valid = cond.get("valid")
        text = cond["text"] if "text" in cond else self.embed(cond, length, x)
        time = self._time(t, cond)
        context, keep = self._context(x, cond)
        each = [x.mT, context.mT, *([keep.mT] if self.kept else []), text]
        each += [self._style(x, cond), time[:, None].expand(-1, length, -1)]
        h = self.enter(torch.cat(each, -1))
        h = h + hidden(self._placed(h, valid), valid)
        h = self.trunk(
            h,
            attend=None if valid is None else valid[:, None, None],
            added=[functional.silu(layer(text)) for layer in self.inject],
        )
        scale, shift = self.adapt(functional.silu(time))[:, None].chunk(2, -1)
        return self.leave(self.norm(h) * (1 + scale) + shift).mT

    def embed(self, cond: Mapping[str, Any], length: int, like: Tensor) -> Tensor:
        """Vectors of the lyrics, (B, L, text): the same at every time, so that a run computes them once."""
        phones = cond.get("phones")
        if phones is None:
            phones = torch.zeros(like.shape[0], length, dtype=torch.long, device=like.device)
        return self.text(
            phones,
            sections=cond.get("sections"),
            singers=cond.get("singers"),
            told=cond.get("has_lyrics"),
            valid=cond.get("valid"),
        )

    def _time(self, t: Tensor, cond: Mapping[str, Any]) -> Tensor:
        zero = torch.zeros_like(t)
        out = self.clock(t) + self.start(cond.get("start", zero).to(t.dtype) / self.horizon_s)
        if self.total is not None:
            out = out + self.total(cond.get("total", zero).to(t.dtype) / self.horizon_s)
        if self.ends is not None and self.stress is not None:
            out = out + self.ends(cond["to"].to(t.dtype) if "to" in cond else t)
            out = out + self.stress(cond.get("weight", zero + 1).to(t.dtype) / WEIGHT_UNIT)
        return out

    def _style(self, x: Tensor, cond: Mapping[str, Any]) -> Tensor:
        style = cond.get("style")
        if style is None:
            return x.new_zeros(x.shape[0], x.shape[2], self.style)
        if style.shape[-1] != self.style:
            raise ConfigError(
                f"the network takes style vectors of length {self.style}, got {style.shape[-1]}.",
                hint="Use the style encoder that the model was trained with.",
            )
        told = cond.get("has_style")
        style = style[:, None].expand(-1, x.shape[2], -1) if style.ndim == 2 else style
        return (style if told is None else style * told[:, None, None]).to(x.dtype)

    def _context(self, x: Tensor, cond: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The context, zero where it is not given, and the mask (B, stems, L)."""
        if "context" not in cond:
            return torch.zeros_like(x), x.new_zeros(x.shape[0], self.stems, x.shape[2])
        keep = cond["keep"].to(x.dtype).expand(-1, self.stems, -1)
        if "has_context" in cond:
            keep = keep * cond["has_context"][:, None, None]
        return cond["context"].to(x.dtype) * keep.repeat_interleave(self.channels // self.stems, 1), keep

    def _placed(self, h: Tensor, valid: Tensor | None) -> Tensor:
        for conv in self.place:
            h = functional.mish(conv(hidden(h, valid).mT).mT)
        return h


class _Clock(nn.Module):
    """A number per sample as a vector (B, width); a silent clock begins at zero."""

    def __init__(self, width: int, *, silent: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(SINUSOIDS, width), nn.SiLU(), last := nn.Linear(width, width))
        if silent:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, value: Tensor) -> Tensor:
        half = SINUSOIDS // 2
        speed = torch.exp(
            torch.arange(half, dtype=torch.float32, device=value.device) * (-math.log(10_000.0) / (half - 1))
        )
        angle = PERIODS * value.float()[:, None] * speed
        return self.layers(torch.cat([angle.sin(), angle.cos()], -1).to(value.dtype))
