"""Settings of song models, of their training and of sampling, checked when they are made, and presets.

    preset            width  layers  frames  seconds  parameters      for
    nano              32     2       64      3        0.07 M          tests
    tiny              160    6       256     11.9     2.9 M           the model that ships, made on one core
    small             512    12      1024    47.6     56 M            one GPU, a few hundred hours of song
    diffrhythm-base   2048   16      2048    95       1,109,315,648   the published network
    diffrhythm-full   2048   16      6144    285      +394,240        its longer form

The two published ones have one stem, 64 latent channels of 44.1 kHz stereo and 512-number MuLan styles.

Sources: Ning et al. 2025 (DiffRhythm), arXiv:2503.01183, sections 3.3 and 4.1, and its public code.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, unknown
from domains.music.conditions import Dropout, Spans
from domains.music.guidance import Guidance

__all__ = ["PRESETS", "DistilConfig", "NetConfig", "Sampling", "SongConfig", "checked", "preset_for"]

T = TypeVar("T", bound=BaseModel)
Alignment = Literal["sentence", "word", "none", "spread", "phone", "mixed"]
Solver = Literal["euler", "midpoint", "heun", "rk4", "ddim", "dpmpp", "adams", "ancestral"]


class NetConfig(BaseModel):
    """The network; `domains.music.dit.SongDiT` says what each means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(160, ge=16, multiple_of=16)
    depth: int = Field(6, ge=1)
    heads: int = Field(5, ge=1)
    phones: int = Field(363, ge=1)
    text: int = Field(96, ge=8, multiple_of=2)
    text_blocks: int = Field(2, ge=0)
    time: int = Field(96, ge=8)
    sections: int = Field(7, ge=0, description="names that a frame can carry, see domains.music.lrc")
    singers: int = Field(4, ge=0)
    total: bool = True
    kept: bool = True
    null_row: bool = True
    horizon_s: float = Field(300.0, gt=0, description="seconds that read as 1")
    max_frames: int = Field(256, ge=8, description="longest canvas, frames; longer songs are tiled")


class Sampling(BaseModel):
    """How latents are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    solver: Solver = "euler"
    steps: int = Field(31, ge=1, description="steps of the solver, or jumps of a student")
    warp: float = Field(1.0, gt=0, description="over 1: more steps near the noise; m t / (1 + (m - 1) t)")
    lyrics: float = Field(3.0, ge=0, description="guidance weight of the lyrics; 1: none")
    style: float = Field(3.0, ge=0, description="guidance weight of the style; 1: none")
    low: float = Field(0.0, ge=0, le=1, description="guidance acts from this time, 0 is data")
    high: float = Field(1.0, ge=0, le=1, description="to this one, 1 is noise")
    rescale: float = Field(0.0, ge=0, le=1)
    gamma: float = Field(0.0, ge=0, le=1, description="of a student: share of the noise drawn anew")

    @property
    def guidance(self) -> Guidance:
        return Guidance(self.lyrics, self.style, self.low, self.high, self.rescale)


class SongConfig(BaseModel):
    """How a song model is built and trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    net: NetConfig = NetConfig()
    stems: int = Field(2, ge=1, le=2, description="1: a mix; 2: voice and backing side by side")
    channels: int = Field(32, ge=1, description="of one stem's latents")
    encoder: Literal["tags", "tagger", "clap", "mulan"] = Field("tags", description="of styles")
    style: int = Field(32, ge=1, description="length of a style vector; tags set it from their vocabulary")
    alignment: Alignment = Field(
        "mixed",
        description="where phones are written; spread: guessed onsets; phone: own ones; mixed: either",
    )

    crop: int = Field(256, ge=8, description="frames of a training sample")
    excerpt: float = Field(0.25, ge=0, le=1, description="share of crops that are told as songs of their own")
    from_line: float = Field(0.7, ge=0, le=1, description="share of crops that begin shortly before a line")
    open_tag: float = Field(0.1, ge=0, lt=1, description="probability that a field of the style is left open")
    dropout: Dropout = Dropout(0.1, 0.1, 0.1, 0.1)
    spans: Spans = Spans()
    time_mean: float = Field(0.0, description="of ln(t / (1 - t)); negative favours data")
    time_std: float = Field(1.0, gt=0)

    steps: int = Field(1400, ge=1)
    batch: int = Field(8, ge=1)
    lr: float = Field(5e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = Field(100, ge=0)
    clip: float | None = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1, description="0: the last weights")
    micro_batches: int = Field(1, ge=1)
    bf16: bool | None = Field(None, description="bfloat16 inside the network; by default on a GPU")
    compile: bool = False

    sampling: Sampling = Sampling()

    @property
    def alignments(self) -> tuple[str, ...]:
        """How the lyrics of a song to learn from are written; a crop takes one of them."""
        return ("spread", "phone") if self.alignment == "mixed" else (self.alignment,)


class DistilConfig(BaseModel):
    """How a student learns from a song model; the defaults made the student that ships."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["consistency", "trajectory"] = "trajectory"
    grid: int = Field(8, ge=2, description="steps of the teacher's grid")
    solver: Literal["euler", "heun"] = "euler"
    huber: float = Field(0.03, gt=0)
    flow: float = Field(0.0, ge=0, description="weight of the loss that trains a model of songs")
    crop: int | None = Field(
        128, ge=8, description="frames of a sample, at most the teacher's; None: as many"
    )
    low: float = Field(1.0, ge=0, description="guidance weights are drawn between low")
    high: float = Field(6.0, ge=0, description="and high")

    steps: int = Field(1900, ge=1)
    batch: int = Field(4, ge=1)
    lr: float = Field(5e-4, gt=0)
    warmup: int = Field(20, ge=0)
    clip: float | None = Field(1.0, gt=0)
    ema: float = Field(0.98, ge=0, lt=1)


PUBLISHED: dict[str, Any] = {
    "stems": 1,
    "channels": 64,
    "encoder": "mulan",
    "style": 512,
    "alignment": "sentence",
    "excerpt": 0.0,
    "from_line": 0.0,
    "dropout": Dropout(0.2, 0.2, 0.2, 0.1),
    "lr": 7.5e-5,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup": 1000,
    "ema": 0.9999,
    "steps": 1_000_000,
    "sampling": Sampling(lyrics=5.0, style=5.0),
}
GEOMETRY: dict[str, Any] = {
    "width": 2048,
    "depth": 16,
    "heads": 32,
    "text": 512,
    "text_blocks": 4,
    "time": 512,
    "sections": 0,
    "singers": 0,
    "kept": False,
    "null_row": False,
}

PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "net": NetConfig(width=32, depth=2, heads=2, text=16, text_blocks=1, time=16, max_frames=64),
        "channels": 4,
        "crop": 64,
        "steps": 100,
        "batch": 8,
        "lr": 2e-3,
        "warmup": 10,
        "ema": 0.9,
        "sampling": Sampling(steps=8),
    },
    "tiny": {
        "steps": 9000,
        "batch": 4,
        "lr": 8e-4,
        "schedule": "constant",
        "warmup": 50,
        "ema": 0.997,
        "sampling": Sampling(lyrics=4.0, style=4.0),
    },
    "small": {
        "net": NetConfig(width=512, depth=12, heads=8, text=256, text_blocks=4, time=256, max_frames=1024),
        "crop": 1024,
        "steps": 200_000,
        "batch": 64,
        "lr": 2e-4,
        "warmup": 2000,
        "ema": 0.9999,
    },
    "diffrhythm-base": {
        **PUBLISHED,
        "net": NetConfig(**GEOMETRY, total=False, max_frames=2048),
        "crop": 2048,
        "batch": 64,
    },
    "diffrhythm-full": {
        **PUBLISHED,
        "net": NetConfig(**GEOMETRY, total=True, max_frames=6144),
        "crop": 6144,
        "batch": 32,
    },
}


def preset_for(preset: str, changes: Mapping[str, Any] | None = None) -> SongConfig:
    """A named preset, with some settings replaced; `net` and `sampling` take mappings of their own.

    Raises:
        ConfigError: an unknown name or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    base = SongConfig(**PRESETS[preset])
    given = dict(changes or {})
    for name in ("net", "sampling"):
        if isinstance(given.get(name), Mapping):
            given[name] = getattr(base, name).model_dump() | dict(given[name])
    config = checked(SongConfig, {**dict(base), **given})
    if config.crop > config.net.max_frames:
        raise ConfigError(
            f"crops of {config.crop} frames are longer than the model's {config.net.max_frames}.",
            hint="Raise net.max_frames or lower crop.",
        )
    return config


def checked(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Build settings, with pydantic's first complaint as one `ConfigError` line."""
    try:
        return kind(**settings)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from err
