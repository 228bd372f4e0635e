"""Text that ships with Python itself: the topics of its reference manual."""

import importlib

from core.errors import MissingExtra

__all__ = ["python_manual"]


def python_manual() -> dict[str, str]:
    """The topics of the language reference, by name in alphabetical order.

    About 80, half a million characters. They differ from one version of Python to the next, so a figure on
    them holds for one version.

    Raises:
        MissingExtra: this Python was packaged without its documentation module.
    """
    try:
        module = importlib.import_module("pydoc_data.topics")
    except ModuleNotFoundError as err:
        raise MissingExtra(
            "this Python has no module 'pydoc_data'.", hint="Install the full standard library of Python."
        ) from err
    return {name: str(text) for name, text in sorted(module.topics.items())}
