"""Fixtures shared by every test: where the real data are, and a seeded generator."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

ROOT = Path(__file__).resolve().parents[1]


def data_root() -> Path | None:
    """Folder of the real data: `SUFFUSE_DATA` wins, else the folder beside the project; None when neither is
    there.
    """
    named = os.environ.get("SUFFUSE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data():
    """A function from "ultrasound/plus_bk" to its path; skips the test, by name, where the data are
    absent.
    """

    def find(name: str) -> Path:
        root = data_root()
        path = root / name if root else None
        if path is None or not path.exists():
            pytest.skip(f"real data '{name}' not found (set SUFFUSE_DATA to the folder that holds it)")
        return path

    return find


@pytest.fixture
def gen() -> torch.Generator:
    return torch.Generator().manual_seed(0)
