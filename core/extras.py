"""Optional packages, imported where they are used."""

import importlib
from types import ModuleType

from core.errors import MissingExtra

__all__ = ["require"]


def require(name: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say which extra installs it.

    Args:
        name: the module to import, such as "h5py".
        extra: the extra of this project that brings it, or the package to install on its own when it is in no
            extra.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as err:
        if err.name is not None and err.name != name.split(".")[0]:
            raise
        known = {"ultrasound", "graphs", "music", "render", "timeseries", "language", "studio"}
        install = f"'suffuse[{extra}]'" if extra in known else extra
        raise MissingExtra(
            f"'{name}' is not installed.", hint=f"Install it with: pip install {install}"
        ) from err
