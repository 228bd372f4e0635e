"""Settings of text models, of their training and of generation, checked when they are made, and presets.

    preset      width  layers  heads  length   parameters                for
    nano        64     2       2      64       0.10 M at V = 27          tests
    char-tiny   128    4       4      128      0.80 M at V = 27          a character model on two cores
    words       128    4       4      128      1.1 M at V = 2048, tied   a small BPE model on two cores
    mini        256    6       4      256      4.75 M at V = 27          words, half an hour on two cores
    small       768    12      12     1024     162 M at V = 50257        a GPU
    medium      1024   24      16     1024     405 M at V = 50257        GPUs

The small presets train on the loss "ao", whose draws have bounded weights; the large ones on "lambda-dce", as
published. Both estimate one bound.

Sources of the defaults: Ou et al. 2024, arXiv:2406.03736, appendix; Sahoo et al. 2024, arXiv:2406.07524.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, unknown
from core.process.survival import Curve, Survival

__all__ = ["PRESETS", "Generation", "NetConfig", "TextConfig", "checked", "preset_for"]

T = TypeVar("T", bound=BaseModel)
Kind = Literal["radd", "causal", "uniform"]
LossKind = Literal["lambda-dce", "ao", "t-dce", "t-dse", "rate"]
PlanKind = Literal["unmask", "first-hitting", "cap", "rescale", "conf", "loop"]
Order = Literal["random", "left", "right", "confidence", "margin", "entropy"]
CacheKind = Literal["none", "exact", "prefix", "dual"]


class NetConfig(BaseModel):
    """The network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(256, ge=4)
    depth: int = Field(6, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.02, ge=0, lt=1)
    tied: bool = Field(False, description="the head shares the embedding's weights")


class TextConfig(BaseModel):
    """How a text model is built and trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = Field(
        "radd", description="radd: masks, no time; causal: the baseline; uniform: told the time"
    )
    net: NetConfig = NetConfig()
    length: int = Field(256, ge=2)
    packing: Literal["eos", "bos_eos", "pad_after_eos"] = "eos"
    shifted: bool = Field(True, description="cut the stream anew each epoch")
    block: int | None = Field(None, ge=1, description="block-causal training with blocks of this length")

    loss: LossKind = "lambda-dce"
    curve: Curve = "log-linear"

    steps: int = Field(10_000, ge=1)
    batch: int = Field(32, ge=1)
    lr: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int | None = Field(None, ge=0, description="2500 steps, or 2 % of them where that is less")
    weight_decay: float = Field(0.03, ge=0)
    clip: float | None = Field(1.0, gt=0)
    ema: float = Field(0.9999, ge=0, lt=1, description="0: the last weights; .999 under 5000 steps")
    bf16: bool | None = Field(None, description="bfloat16 inside the network; by default on a GPU")
    compile: bool = False
    micro_batches: int = Field(1, ge=1)

    @property
    def survival(self) -> Survival:
        """The curve of the process."""
        return Survival(self.curve)


class Generation(BaseModel):
    """How text is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plan: PlanKind = Field("unmask", description="first-hitting: one token at a time; the rest: remasking")
    steps: int = Field(128, ge=1, description="rows of the plan; a row that reveals nothing costs nothing")
    order: Order = "random"
    threshold: float = Field(0.0, ge=0, lt=1, description="reveal all that is surer, with --order confidence")
    temperature: float = Field(1.0, ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, lt=1)
    repetition: float = Field(1.0, ge=1)
    banned: tuple[int, ...] = ()
    guidance: float = Field(0.0, ge=0, description="how much the prompt is stressed; costs a second call")
    eta: float | None = Field(None, ge=0, le=1, description="of remasking")
    block_length: int | None = Field(None, ge=1, description="write blocks from left to right")
    cache: CacheKind = Field("none", description="of blocks; prefix and dual are approximate")
    eos_penalty: float = Field(
        0.0, ge=0, description="taken from the end of text, falling to 0 in the last block"
    )
    sampling_dtype: Literal["fp64", "fp32"] = "fp64"
    chunk: int = Field(64, ge=1, description="sequences at once")

    @property
    def exact(self) -> bool:
        """Whether samples follow the model's own law up to the factorisation of a step."""
        plain = self.temperature == 1 and self.top_k is None and self.top_p == 1 and self.min_p == 0
        return (
            plain
            and self.repetition == 1
            and not self.banned
            and self.order == "random"
            and self.threshold == 0
            and self.guidance == 0
            and self.eos_penalty == 0
            and self.cache in ("none", "exact")
            and self.sampling_dtype == "fp64"
        )


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "net": NetConfig(width=64, depth=2, heads=2, dropout=0.0),
        "loss": "ao",
        "length": 64,
        "steps": 400,
        "batch": 16,
        "lr": 3e-3,
        "weight_decay": 0.01,
        "ema": 0.99,
    },
    "char-tiny": {
        "net": NetConfig(width=128, depth=4, heads=4, dropout=0.0),
        "loss": "ao",
        "length": 128,
        "steps": 1600,
        "batch": 16,
        "lr": 2e-3,
        "warmup": 100,
        "weight_decay": 0.01,
        "ema": 0.999,
    },
    "words": {
        "net": NetConfig(width=128, depth=4, heads=4, dropout=0.0, tied=True),
        "loss": "ao",
        "length": 128,
        "steps": 1600,
        "batch": 16,
        "lr": 2e-3,
        "warmup": 100,
        "weight_decay": 0.01,
        "ema": 0.999,
    },
    "mini": {
        "net": NetConfig(width=256, depth=6, heads=4, dropout=0.0, tied=True),
        "loss": "ao",
        "batch": 16,
        "ema": 0.999,
    },
    "small": {
        "net": NetConfig(width=768, depth=12, heads=12),
        "length": 1024,
        "steps": 400_000,
        "batch": 512,
        "lr": 3e-4,
        "schedule": "constant",
    },
    "medium": {
        "net": NetConfig(width=1024, depth=24, heads=16),
        "length": 1024,
        "steps": 400_000,
        "batch": 512,
        "lr": 3e-4,
        "schedule": "constant",
    },
}


def preset_for(preset: str, changes: Mapping[str, Any] | None = None) -> TextConfig:
    """A named preset, with some settings replaced.

    Raises:
        ConfigError: an unknown name or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    given = dict(changes or {})
    net = PRESETS[preset]["net"].model_dump() | dict(given.pop("net", {}))
    config = checked(TextConfig, {**PRESETS[preset], **given, "net": net})
    if (config.loss == "rate") != (config.kind == "uniform") and config.kind != "causal":
        if config.kind == "uniform":
            return checked(TextConfig, {**config.model_dump(), "loss": "rate"})
        raise ConfigError("the loss 'rate' is for kind 'uniform'.", hint="Use lambda-dce.")
    if config.block is not None and (config.kind != "radd" or config.block >= config.length):
        raise ConfigError(
            f"blocks of {config.block} need kind 'radd' and a length beyond them, got kind '{config.kind}' "
            f"and length {config.length}."
        )
    return config


def checked(kind: type[T], settings: dict[str, Any]) -> T:
    """Build settings, with pydantic's first complaint as one `ConfigError` line."""
    try:
        return kind(**settings)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from err
