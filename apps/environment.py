"""What a run depends on besides its settings: versions, the checkout, the machine."""

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["LIBRARIES", "environment", "git_state", "loaded", "version_of"]

LIBRARIES = {
    "torch": "torch",
    "numpy": "numpy",
    "scipy": "scipy",
    "safetensors": "safetensors",
    "pydantic": "pydantic",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "monai": "monai",
    "pyarrow": "pyarrow",
    "statsmodels": "statsmodels",
    "h5py": "h5py",
    "hdf5plugin": "hdf5plugin",
    "pydicom": "pydicom",
    "nibabel": "nibabel",
    "imageio": "imageio",
    "tifffile": "tifffile",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "torch_geometric": "torch-geometric",
    "rdkit": "rdkit",
    "networkx": "networkx",
    "fcd_torch": "fcd-torch",
    "torchaudio": "torchaudio",
    "soundfile": "soundfile",
    "librosa": "librosa",
    "pyloudnorm": "pyloudnorm",
    "pystoi": "pystoi",
    "mido": "mido",
    "mutagen": "mutagen",
    "pyworld": "pyworld",
    "setuptools": "setuptools",
    "gluonts": "gluonts",
    "pandas": "pandas",
    "tokenizers": "tokenizers",
    "gradio": "gradio",
}
"""Import name to distribution name of the libraries whose versions a run records."""


@functools.cache
def version_of(distribution: str) -> str | None:
    """Version of an installed distribution, None when it is not installed; read once a process."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Describe the program and the machine: version, git revision, platform, cores."""
    revision, changed = git_state()
    return {
        "suffuse": version_of("suffuse"),
        "git_revision": revision,
        "git_changed": changed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }


def loaded() -> dict[str, Any]:
    """Versions of the libraries imported so far, and the threads torch uses (None before it is imported)."""
    versions = {name: version_of(name) for module, name in LIBRARIES.items() if module in sys.modules}
    torch = sys.modules.get("torch")
    return {"threads": torch.get_num_threads() if torch else None, "versions": versions}


@functools.cache
def git_state() -> tuple[str | None, bool | None]:
    """Revision of the checkout this program runs from, and whether tracked files differ from it; asked once a
    process, since a running program does not follow its checkout.

    (None, None) when the program is installed without its checkout, or git is absent.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None, None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        return revision, _git(root, "status", "--porcelain", "--untracked-files=no") != ""
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *args: str) -> str:
    command = ["git", "-C", str(root), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
