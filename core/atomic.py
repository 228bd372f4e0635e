"""Write a file completely or not at all: into a neighbour with a temporary name, then one rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import ConfigError

__all__ = ["refuse_existing", "replacing"]


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError when `path` exists and may not be replaced. A folder is never replaced."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder that exists.", hint="Name a folder that does not exist yet.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists.", hint="Pass --overwrite to replace it, or choose another name.")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist.", hint="Create it first.")


@contextmanager
def replacing(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a path in the same folder to write to, and rename it to `path` once the block ends well.

    The temporary name keeps the suffix of `path` ("nii.gz" as a whole), since several writers choose their
    format by it. When the block raises, the temporary file or folder is removed and `path` is left as it was.

    Raises:
        ConfigError: `path` exists and `overwrite` is off, is a folder, or its parent folder is absent.
    """
    refuse_existing(path, overwrite=overwrite)
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    holder = Path(tempfile.mkdtemp(prefix=".suffuse-", dir=path.parent))
    try:
        draft = holder / f"draft{suffix}"
        yield draft
        refuse_existing(path, overwrite=overwrite)
        os.replace(draft, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
