"""A small song model trained on two processes: `torchrun two_processes.py FOLDER`."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from core.train.distributed import group, place, spread
from domains.music.model import SongModel, untrained
from domains.music.training import train
from tests.domains.music.songs import nano, toy_songs

STEPS = 4


def run(**options: Any) -> SongModel:
    return train(toy_songs(), nano(steps=STEPS, batch=4, warmup=2), seed=3, **options)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with group("gloo"):
        assert place().world == 2
        run(folder=folder / "fsdp", parallel="fsdp")
        run(folder=folder / "ddp", parallel="ddp")
        cut = spread(untrained(nano(), style=4), "fsdp")
        own = sum(p.to_local().numel() for p in cut.parameters())  # type: ignore[attr-defined]
        (folder / f"share-{place().rank}.json").write_text(
            json.dumps({"own": own, "all": sum(p.numel() for p in cut.parameters())})
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
