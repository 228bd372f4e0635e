"""Styles as vectors: what a song model is told about sound, mood and singer.

    tags      one number per tag of a vocabulary, with words such as "piano, slow, female"; default
    tagger    the shared space of audio and tags of this project's own tagger
    clap      a CLAP model of the transformers package, 512 numbers, audio or text
    mulan     MuQ-MuLan, 512 numbers, audio or text: what the published models use

The first layer of the network is linear, so tags as numbers are exactly a learned embedding of each tag. CLAP
and MuLan read weights from a folder that the user names; nothing is fetched.

Styles are blended by weights, and turned into one another along great circles at the borders of sections.

Sources: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, and its public code (MuQ-MuLan); Shoemake 1985,
doi:10.1145/325334.325242 (spherical interpolation).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from core.errors import ConfigError, DataError, unknown
from core.extras import require

__all__ = ["Clap", "Mulan", "StyleEncoder", "TagStyle", "Tagged", "along", "blend", "encoder_for", "slerp"]


class StyleEncoder(Protocol):
    """What makes style vectors of length `length`."""

    @property
    def name(self) -> str: ...

    @property
    def length(self) -> int: ...

    def text(self, words: str) -> Tensor:
        """The style of words, (length,)."""

    def audio(self, samples: Tensor, rate: int) -> Tensor:
        """The style of a recording, samples (channels, T) at `rate` Hz -> (length,)."""


@dataclass(frozen=True)
class TagStyle:
    """One number per tag; a style that names every field has length 1.

    Args:
        vocabulary: field -> its tags, in order.
    """

    vocabulary: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        return "tags"

    @property
    def tags(self) -> list[tuple[str, str]]:
        """(field, tag) in the order of the numbers."""
        return [(name, tag) for name, tags in self.vocabulary.items() for tag in tags]

    @property
    def length(self) -> int:
        return len(self.tags)

    def of(self, tags: Mapping[str, str]) -> Tensor:
        """The style of one tag per field; fields that are not named stay open.

        Raises:
            ConfigError: a field or a tag is not in the vocabulary.
        """
        out = torch.zeros(self.length)
        for name, tag in tags.items():
            if name not in self.vocabulary:
                raise unknown("field of style", name, self.vocabulary)
            if tag not in self.vocabulary[name]:
                raise unknown(name, tag, self.vocabulary[name])
            out[self.tags.index((name, tag))] = len(self.vocabulary) ** -0.5
        return out

    def text(self, words: str) -> Tensor:
        """The style of words parted by commas; two tags of one field share it.

        Raises:
            ConfigError: a word is no tag; names the nearest one.
        """
        known = {tag: name for name, tag in self.tags}
        found: dict[str, list[str]] = {}
        for word in filter(None, (part.strip().lower() for part in words.split(","))):
            if word not in known:
                raise unknown("style tag", word, known)
            found.setdefault(known[word], []).append(word)
        out = torch.zeros(self.length)
        for name, tags in found.items():
            for tag in tags:
                out += self.of({name: tag}) / len(tags) ** 0.5
        return out

    def audio(self, samples: Tensor, rate: int) -> Tensor:
        raise ConfigError(
            "tags are words; a recording has none.",
            hint="Describe it by --style, or use the tagger's styles.",
        )


@dataclass(frozen=True)
class Tagged:
    """The space of a contrastive tower over audio and tags.

    Args:
        length: of its unit vectors.
        embed_audio: samples (channels, T), rate -> (length,).
        embed_tags: words -> (length,).
    """

    length: int
    embed_audio: Callable[[Tensor, int], Tensor]
    embed_tags: Callable[[str], Tensor]
    name: str = "tagger"

    def text(self, words: str) -> Tensor:
        return _unit(self.embed_tags(words))

    def audio(self, samples: Tensor, rate: int) -> Tensor:
        return _unit(self.embed_audio(samples, rate))


class Clap:
    """CLAP from a local folder, through transformers; 48 kHz mono, 10 s from the middle."""

    name, length, rate = "clap", 512, 48_000

    def __init__(self, folder: Path | None) -> None:
        _local(folder, "CLAP", "--clap")
        package: Any = require("transformers", extra="transformers")
        self.model = package.ClapModel.from_pretrained(folder, local_files_only=True).eval()
        self.processor = package.ClapProcessor.from_pretrained(folder, local_files_only=True)

    @torch.no_grad()
    def text(self, words: str) -> Tensor:
        return _unit(self.model.get_text_features(**self.processor(text=[words], return_tensors="pt"))[0])

    @torch.no_grad()
    def audio(self, samples: Tensor, rate: int) -> Tensor:
        mono = _middle(samples, rate, self.rate)
        told = self.processor(audios=[mono.numpy()], sampling_rate=self.rate, return_tensors="pt")
        return _unit(self.model.get_audio_features(**told)[0])


class Mulan:
    """MuQ-MuLan from a local folder, through muq; 24 kHz mono, 10 s from the middle."""

    name, length, rate = "mulan", 512, 24_000

    def __init__(self, folder: Path | None) -> None:
        _local(folder, "MuQ-MuLan", "--mulan")
        package: Any = require("muq", extra="muq")
        self.model = package.MuQMuLan.from_pretrained(str(folder), local_files_only=True).eval()

    @torch.no_grad()
    def text(self, words: str) -> Tensor:
        return _unit(self.model(texts=[words])[0])

    @torch.no_grad()
    def audio(self, samples: Tensor, rate: int) -> Tensor:
        return _unit(self.model(wavs=_middle(samples, rate, self.rate)[None])[0])


def encoder_for(
    name: str,
    *,
    vocabulary: Mapping[str, tuple[str, ...]] | None = None,
    tagger: Tagged | None = None,
    folder: Path | None = None,
) -> StyleEncoder:
    """The encoder of this name.

    Args:
        vocabulary: of "tags".
        tagger: of "tagger".
        folder: local weights of "clap" and "mulan".

    Raises:
        ConfigError: an unknown name, or what it needs is missing; names the option that gives it.
    """
    match name:
        case "tags" if vocabulary is not None:
            return TagStyle(vocabulary)
        case "tagger" if tagger is not None:
            return tagger
        case "clap":
            return Clap(folder)
        case "mulan":
            return Mulan(folder)
        case "tags" | "tagger":
            raise ConfigError(f"the style encoder '{name}' needs a model that was trained with it.")
    raise unknown("style encoder", name, ("tags", "tagger", "clap", "mulan"))


def blend(styles: Sequence[Tensor], weights: Sequence[float] | None = None) -> Tensor:
    """A weighted mean of styles (S,), as long as its parts are on average.

    Raises:
        ConfigError: no style, another number of weights, weights that are negative or add up to nothing, or
            styles that cancel.
    """
    shares = [1.0] * len(styles) if weights is None else [float(w) for w in weights]
    if not styles or len(shares) != len(styles) or min(shares) < 0 or not sum(shares) > 0:
        raise ConfigError(
            f"a blend needs one weight of 0 or more per style, got {len(styles)} styles and {shares}."
        )
    total = sum(shares)
    mean = torch.stack([style * (w / total) for style, w in zip(styles, shares, strict=True)]).sum(0)
    size = sum(float(style.norm()) * w / total for style, w in zip(styles, shares, strict=True))
    if size > 0 and float(mean.norm()) < 1e-6 * size:
        raise ConfigError("these styles cancel, nothing is left of the blend.", hint="Change a weight.")
    return mean if size == 0 else mean * (size / mean.norm())


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """The style between two, (S,): its direction moves along the great circle, its length evenly."""
    first, second = a.norm(), b.norm()
    if first == 0 or second == 0:
        return torch.lerp(a, b, share)
    cos = float((a @ b) / (first * second))
    angle = math.acos(max(-1.0, min(1.0, cos)))
    if angle < 1e-4 or angle > math.pi - 1e-4:
        return torch.lerp(a, b, share)
    parts = math.sin((1 - share) * angle) * a / first + math.sin(share * angle) * b / second
    return parts / math.sin(angle) * torch.lerp(first, second, share)


def along(styles: Sequence[tuple[int, Tensor]], frames: int, *, border: int = 21) -> Tensor:
    """One style per frame, (frames, S), from sections that begin at given frames.

    Args:
        styles: (first frame, style) in order; the first begins at frame 0.
        border: frames around each border over which one style turns into the next.

    Raises:
        DataError: the sections are out of order, or the first does not begin at frame 0.
    """
    starts = [start for start, _ in styles]
    if not starts or starts[0] != 0 or starts != sorted(set(starts)):
        raise DataError(f"sections must begin at frame 0 and go on in order, got {starts}.")
    out = torch.empty(frames, styles[0][1].shape[-1])
    for start, style in styles:
        out[start:] = style
    for (_, before), (start, after) in pairwise(styles):
        for k in range(max(start - border // 2, 0), min(start - border // 2 + border, frames)):
            out[k] = slerp(before, after, (k - (start - border // 2) + 0.5) / border)
    return out


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-12)


def _middle(samples: Tensor, rate: int, wanted: int, seconds: float = 10.0) -> Tensor:
    """Mono, at another rate, the middle seconds, (T,)."""
    functional: Any = require("torchaudio.functional", extra="music")
    mono = functional.resample(samples.mean(0), rate, wanted)
    spare = max(len(mono) - int(seconds * wanted), 0) // 2
    return mono[spare : len(mono) - spare]


def _local(folder: Path | None, what: str, option: str) -> None:
    if folder is None or not folder.is_dir():
        found = "none was given" if folder is None else f"{folder} is no folder"
        raise ConfigError(
            f"{what} styles need their weights on this computer: {found}.",
            hint=f"Name the folder with {option} PATH; nothing is downloaded.",
        )
