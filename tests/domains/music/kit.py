"""A folder with a small song model and its codec, both hardly trained: what the commands need to run."""

from pathlib import Path

import torch

from core.process import RectifiedFlow, to_record
from core.train import Checkpoint
from domains.music.codec import SpecVAE, SpecVAEConfig, save_codec
from domains.music.config import preset_for
from domains.music.training import train
from tests.domains.music.songs import toy_songs

__all__ = ["make_kit"]

SIZE = SpecVAEConfig(channels=4, fast=12, slow=16, encoder=(1, 1), decoder=(1, 1))


def make_kit(folder: Path) -> Path:
    """Write `model.safetensors` and `codec.safetensors`; returns the folder. Canvas 64 frames, two stems."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = SpecVAE(SIZE)
    empty = Checkpoint({}, to_record(RectifiedFlow()), "flow", 1.0, role="codec")
    save_codec(folder / "codec.safetensors", codec, empty)
    train(toy_songs(), preset_for("nano", {"steps": 2, "sampling": {"steps": 2}}), folder=folder)
    return folder
