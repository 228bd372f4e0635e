"""Words of public-domain hymns with drafted stamps: lyrics to try a model on."""

from importlib import resources

from core.errors import unknown
from domains.music.lrc.events import Lyrics
from domains.music.lrc.parse import parse

__all__ = ["hymn", "hymns"]


def hymns() -> tuple[str, ...]:
    """Names of the hymns, such as "amazing-grace"."""
    folder = resources.files("domains.music.hymns")
    return tuple(sorted(file.name[:-4] for file in folder.iterdir() if file.name.endswith(".lrc")))


def hymn(name: str) -> Lyrics:
    """The lyrics of a hymn.

    Raises:
        ConfigError: none has this name.
    """
    if name not in hymns():
        raise unknown("hymn", name, hymns())
    text = resources.files("domains.music.hymns").joinpath(f"{name}.lrc").read_text("utf-8")
    return parse(text, strict=True)[0]
