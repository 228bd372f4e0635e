"""A small song model and toy songs for the tests of composing and training."""

from typing import Any

import torch

from core.denoise import wrap
from core.process import RectifiedFlow
from core.train import Checkpoint
from domains.music.config import SongConfig, preset_for
from domains.music.dit import SongDiT
from domains.music.model import SongModel, network
from domains.music.songs import Song

TAGS = {"instrument": ("organ", "piano"), "voice": ("female", "male")}


def toy_songs(count: int = 6, frames: int = 90, channels: int = 8) -> list[Song]:
    """Latents that are a sine in the style's channel plus a bump wherever a phone stands."""
    songs = []
    for n in range(count):
        gen = torch.Generator().manual_seed(n)
        phones = (torch.rand(2, frames, generator=gen) < 0.2).long() * torch.randint(
            1, 20, (2, frames), generator=gen
        )
        time = torch.arange(frames) / 5
        latents = torch.stack([torch.sin(time * (1 + k % 3) + n) for k in range(channels)])
        latents[0] += (phones[0] > 0).float()
        zero = torch.zeros(frames, dtype=torch.long)
        songs.append(
            Song(
                name=f"song {n}",
                latents=latents,
                phones=phones,
                sections=zero,
                singers=zero,
                lines=(0, 40),
                tags={"instrument": TAGS["instrument"][n % 2], "voice": TAGS["voice"][n // 2 % 2]},
                split="test" if n == count - 1 else "train",
            )
        )
    return songs


def nano(**changes: Any) -> SongConfig:
    return preset_for("nano", changes)


def random_model(*, student: bool = False, **changes: Any) -> SongModel:
    """An untrained model all of whose weights matter."""
    config = nano(**changes)
    net: SongDiT = network(config, style=4, student=student)
    gen = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=gen))
    denoiser = wrap(net, RectifiedFlow(), predicts="flow").eval().requires_grad_(False)
    return SongModel(denoiser, config, 22050, 1024, TAGS, Checkpoint({}, {}, "flow", 1.0))
