"""What was asked of a song model, complete: the same request on the same files gives the same samples.

A request is JSON. It holds the words of the lyrics, not their path, and the paths of recordings; it stands in
the sidecar of everything that is made, where `reproduce` reads it.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from domains.music.config import Sampling
from domains.music.lyrics import Alignment
from domains.music.phones.scripts import LANGUAGES

__all__ = ["OPERATIONS", "NoiseSearch", "SongRequest", "config_hash"]

Operation = Literal["compose", "edit", "extend", "loop", "relyric", "accompany", "variation", "control"]
OPERATIONS = ("compose", "edit", "extend", "loop", "relyric", "accompany", "variation", "control")


class NoiseSearch(BaseModel):
    """A search for the noise of a song that verifiers like best, tile by tile; see `core.infer.search`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field("random", description="random, zero-order or paths")
    runs: int = Field(16, ge=1, description="that a tile may cost")
    budget: int | None = Field(None, ge=1, description="evaluations of the guided model a tile, for runs")
    verifiers: tuple[str, ...] = Field((), description="words, style; those that the request allows when ()")
    second: str | None = Field(None, description="reported, not searched on; the other one when None")
    recogniser: str = "recogniser"
    tagger: str = "tagger"
    calibration: str | None = Field(None, description="of both; that of the shipped ones when None")


class SongRequest(BaseModel):
    """One song asked for; `suffuse music compose` and its kin build these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: Operation = "compose"
    model: str = Field("song", description="folder, file or shipped name")
    codec: str | None = Field(None, description="the model's own when None")
    seed: int = 0
    device: str = "auto"

    lyrics: str = Field("", description="text in .lrc form; empty is an instrumental")
    language: str = Field("en", description=f"of the lyrics: {', '.join(LANGUAGES)}")
    alignment: Alignment | None = Field(None, description="the model's own when None")
    strict: bool = Field(False, description="problems of the lyrics are errors")

    style: str = Field("", description="words parted by commas")
    style_audio: str | None = Field(None, description="recording whose style is taken")
    style_audio_licence: str = "not stated"
    style_weight: float = Field(0.5, ge=0, le=1, description="of the recording, beside words")
    negative: str = Field("", description="style to lead away from")
    section_styles: Mapping[str, str] = Field(default_factory=dict, description="section: style words")
    style_folder: str | None = Field(None, description="local weights of CLAP or MuLan")

    length_s: float | None = Field(None, gt=0, le=3600, description="taken from the lyrics when None")
    tile: bool = Field(True, description="longer songs than the model's canvas are made of tiles")
    overlap_s: float | None = Field(None, gt=0, description="that tiles share")
    sampling: Mapping[str, Any] = Field(default_factory=dict, description="differs from the model's own")
    search: NoiseSearch | None = Field(None, description="of the noise, for compose")

    source: str | None = Field(None, description="recording that is edited")
    voice: str | None = Field(None, description="its voice alone")
    backing: str | None = Field(None, description="its accompaniment alone")
    crop: tuple[float, float] | None = Field(None, description="seconds of the recording to take")
    spans: tuple[tuple[float, float], ...] = Field((), description="seconds; -1 is the song's edge")
    left_s: float = Field(0.0, ge=0)
    right_s: float = Field(0.0, ge=0)
    seam_s: float = Field(2.0, gt=0)
    strength: float = Field(0.6, gt=0, le=1)

    targets: Mapping[str, Any] = Field(default_factory=dict, description="of control")

    def settings(self, own: Sampling) -> Sampling:
        """The model's settings of sampling with what was asked in their place."""
        from domains.music.config import checked

        return checked(Sampling, own.model_dump() | dict(self.sampling))


def config_hash(request: SongRequest, sampling: Sampling) -> str:
    """SHA-256 of the request and the settings of sampling, as JSON with sorted keys."""
    whole = {"request": request.model_dump(mode="json"), "sampling": sampling.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
