"""Settings of the ultrasound workflows, checked when they are made, and their presets."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, unknown

__all__ = [
    "BRIGHTNESS",
    "RECIPES",
    "Consistency",
    "DehazeConfig",
    "Interleave",
    "PriorConfig",
    "checked",
    "recipe",
]

T = TypeVar("T", bound=BaseModel)

Consistency = Literal["projection", "x0", "dps", "pigdm"]
Interleave = Literal["whole", "hann", "overwrite"]


class PriorConfig(BaseModel):
    """How one prior is trained: its network, its patches, its schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    net: Literal["unet", "monai"] = Field(
        "unet", description="own small U-Net, or MONAI's DiffusionModelUNet"
    )
    widths: tuple[int, ...] = Field((16, 32, 48), description="channels per level")
    blocks: int = Field(1, ge=1, description="residual blocks per level")
    attention: bool = Field(False, description="attention at the lowest level")
    patch: tuple[int, int] = Field((48, 32), description="samples, lines")
    batch: int = Field(16, ge=1)
    steps: int = Field(560, ge=1)
    lr: float = Field(4e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = Field(0, ge=0)
    ema: float = Field(0.995, ge=0, lt=1)
    sigma_min: float = Field(0.01, gt=0, description="companded units")
    sigma_max: float = Field(2.0, gt=0, description="companded units")
    brightness: tuple[float, float] | None = Field(
        None, description="range of the gain offset, companded units; None takes what suits the role"
    )
    frames: int = Field(20, ge=1, description="simulated frames, when no data are given")


# Tissue always reaches near the peak of a frame; haze may be 20 dB below it, which is -0.4 in companded
# units.
BRIGHTNESS = {"tissue": (-0.1, 0.1), "haze": (-0.4, 0.1)}

RECIPES: dict[str, PriorConfig] = {
    # About 1 CPU-minute a prior: the recipe of the tests.
    "demo": PriorConfig(),
    # About 10 CPU-minutes a prior: the shipped weights, whose scores are in weights/card.json.
    "cpu": PriorConfig(widths=(16, 32, 48, 64), steps=4000, frames=60, ema=0.999, warmup=50),
    # For one GPU or several; not measured yet.
    "gpu": PriorConfig(
        widths=(64, 128, 256),
        attention=True,
        patch=(128, 64),
        batch=64,
        lr=1e-4,
        schedule="constant",
        warmup=1000,
        ema=0.9999,
        steps=100_000,
        frames=2000,
    ),
}


class DehazeConfig(BaseModel):
    """How haze is removed: strength, noise levels, the rule that ties both priors to the measurement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gamma: float = Field(0.4, ge=0, description="strength of the haze that is looked for")
    steps: int = Field(30, ge=2, description="calls of each prior")
    start_sigma: float = Field(
        0.6, gt=0, description="noise level that sampling starts from, companded units"
    )
    end_sigma: float = Field(0.01, gt=0, description="last noise level before the clean estimate")
    consistency: Consistency = "projection"
    weight_tissue: float = Field(0.5, ge=0, description="lambda, pull of the measurement on tissue per step")
    weight_haze: float = Field(0.5, ge=0, description="kappa, pull of the measurement on haze per step")
    eta: float = Field(0.0, ge=0, le=1, description="share of fresh noise per step: 0 none, 1 ancestral")
    samples: int = Field(1, ge=1, description="posterior samples per frame; more give a mean and a deviation")
    interleave: Interleave = Field(
        "whole", description="whole frame, Hann-blended patches, overwritten patches"
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a patch that its neighbour sees too")
    independent_noise: bool = Field(False, description="draw other noise for every frame of a cine")
    batch: int = Field(4, ge=1, description="frames sampled together")


def recipe(name: str, **changes: object) -> PriorConfig:
    """A named training recipe with some settings replaced.

    Raises:
        ConfigError: unknown name or setting, or a value out of range.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return checked(PriorConfig, {**RECIPES[name].model_dump(), **changes})


def checked(kind: type[T], settings: dict[str, Any]) -> T:
    """Build settings, with pydantic's first complaint as one `ConfigError` line."""
    try:
        return kind(**settings)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from err
