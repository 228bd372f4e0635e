"""The catalogue: one card per dataset, saying what it is, where it comes from and under which rights.

A card is one YAML file in `data/cards`. One of three fields says where the values come from:

| field       | the values                                                  | example                        |
| ----------- | ----------------------------------------------------------- | ------------------------------ |
| `files`     | are files with checksums, found or fetched by `data.store`  | those of `plus_bk`             |
| `builtin`   | ship inside an installed package, named as module.function  | `sklearn.datasets.load_digits` |
| `generator` | are simulated on this machine by the command named          | `suffuse ultrasound simulate`  |
"""

from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from core.errors import ConfigError, unknown

__all__ = ["Card", "File", "Source", "find_card", "parse_card", "read_cards"]

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Hex40 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
# A path inside the dataset's folder: no part starts with a dot, so none is "..".
Inside = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
]
Link = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Strict):
    """Where the values were taken from.

    `repository` is a GitHub repository for files, and a package for what ships inside one; `path` is a folder
    or a file in it.
    """

    repository: Text
    path: Text | None = None
    commit: Hex40 | None = None


class File(_Strict):
    """One file: its path inside the dataset's folder, its checksum and where it can be downloaded."""

    path: Inside
    sha256: Hex64
    size_bytes: Annotated[int, Field(ge=0)]
    url: Link | None = None


class Card(_Strict):
    """What one dataset is; `name` is unique over all domains."""

    name: Slug
    domain: Slug
    title: Text
    task: Text
    source: Source
    licence: Text
    rights: Text
    format: Text
    files: tuple[File, ...] = ()
    builtin: Text | None = None
    generator: Text | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum((bool(self.files), self.builtin is not None, self.generator is not None)) != 1:
            raise ValueError("exactly one of files, builtin and generator must be given")
        if len({file.path for file in self.files}) != len(self.files):
            raise ValueError("two files share a path")
        return self

    @property
    def kind(self) -> Literal["files", "builtin", "generator"]:
        """Where the values come from: the field that is given."""
        return "files" if self.files else "builtin" if self.builtin else "generator"

    @property
    def folder(self) -> str:
        """Path of the dataset's folder below a data folder, with forward slashes."""
        return f"{self.domain}/{self.name}"

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together; 0 for what needs no files."""
        return sum(file.size_bytes for file in self.files)


def parse_card(text: str, *, origin: str) -> Card:
    """Read one card.

    Args:
        text: the YAML of the card.
        origin: what an error names, usually the file.

    Raises:
        ConfigError: the text is not YAML, or a field is missing, misspelt or out of its bounds.
    """
    try:
        return Card.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as err:
        raise ConfigError(f"{origin} is not YAML: {str(err).splitlines()[0]}.") from err
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the card"
        raise ConfigError(
            f"{origin}: {field}: {first['msg']}.", hint="The fields are those of data.catalog.Card."
        ) from err


@cache
def read_cards() -> tuple[Card, ...]:
    """Read every card of the catalogue, ordered by domain and name."""
    entries = [entry for entry in resources.files("data.cards").iterdir() if entry.name.endswith(".yaml")]
    cards = [parse_card(entry.read_text("utf-8"), origin=f"data/cards/{entry.name}") for entry in entries]
    return tuple(sorted(cards, key=lambda card: (card.domain, card.name)))


def find_card(name: str) -> Card:
    """Find the card of a dataset by its name, or say which names are near.

    Raises:
        ConfigError: no dataset has this name.
    """
    cards = {card.name: card for card in read_cards()}
    if name not in cards:
        raise unknown("dataset", name, cards)
    return cards[name]
