"""Settings of the ultrasound workflows, checked when they are made, and their presets."""

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, unknown

__all__ = [
    "BRIGHTNESS",
    "PULL",
    "RECIPES",
    "Consistency",
    "DehazeConfig",
    "Interleave",
    "PriorConfig",
    "VideoConfig",
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


# Pull of the measurement that suits each rule; tests/benchmarks/results/ultrasound.json has what they reach.
PULL: dict[str, float] = {"projection": 0.5, "x0": 0.5, "dps": 0.05, "pigdm": 1.0}


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
    weight_tissue: float | None = Field(
        None, ge=0, description="lambda, pull of the measurement on tissue per step; None takes the rule's"
    )
    weight_haze: float | None = Field(
        None, ge=0, description="kappa, pull of the measurement on haze per step; None takes the rule's"
    )
    eta: float = Field(0.0, ge=0, le=1, description="share of fresh noise per step: 0 none, 1 ancestral")
    samples: int = Field(1, ge=1, description="posterior samples per frame; more give a mean and a deviation")
    interleave: Interleave = Field(
        "whole", description="whole frame, Hann-blended patches, overwritten patches"
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a patch that its neighbour sees too")
    independent_noise: bool = Field(False, description="draw other noise for every frame of a cine")
    batch: int = Field(4, ge=1, description="frames sampled together on a GPU; a CPU takes one at a time")

    @property
    def weights(self) -> dict[str, float]:
        """Pull on each part: as given, else the rule's own."""
        own, given = PULL[self.consistency], {"tissue": self.weight_tissue, "haze": self.weight_haze}
        return {part: own if weight is None else weight for part, weight in given.items()}


class VideoConfig(BaseModel):
    """How haze is removed from pictures: noise levels, and the settings of each method.

    Those of "semantic" are the published recommended ones; lengths in px belong to pictures of 256 rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(50, ge=2, description="calls of the prior per frame; published: 500 and 480")
    start_sigma: float | None = Field(
        None, gt=0, description="noise level that sampling starts from, levels; None takes the method's"
    )
    end_sigma: float = Field(0.01, gt=0, description="last noise level before the clean estimate, levels")
    eta: float = Field(0.0, ge=0, le=1, description="share of fresh noise per step: 0 none, 1 ancestral")
    independent_noise: bool = Field(False, description="draw other noise for every frame")
    batch: int = Field(8, ge=1, description="frames sampled together by semantic")

    window: int = Field(7, ge=2, description="nuclear: frames that share a low-rank haze")
    mu: float = Field(0.2, gt=0, lt=1, description="nuclear: weight of the residual per step")
    gamma: float = Field(
        0.1, ge=0, description="nuclear: rms level below which what stands still is no haze, per pixel"
    )
    shrink: Literal["subgradient", "prox"] = Field("subgradient", description="nuclear: step of the norm")
    keep_above: float | None = Field(
        None, ge=-1, le=1, description="nuclear: levels of the input above this are put back"
    )

    w_bg: float = Field(1.0, ge=0, description="semantic: weight of the background")
    w_vent: float = Field(0.3, ge=0, description="semantic: weight of the ventricle")
    w_sept: float = Field(2.037, ge=0, description="semantic: weight of septum, skeleton, border and black")
    penalty: float = Field(0.0078, ge=0, description="semantic: eta, weight of darkness in the ventricle")
    beta: float = Field(1.6355, gt=0, description="semantic: where that penalty turns straight, levels")
    guidance: float = Field(1.0, ge=0, description="semantic: step, 1 closes the most trusted residual")
    mask_threshold: float = Field(0.176, ge=0, le=1, description="semantic: of masks and brightness")
    mask_sigma_px: float = Field(4.2, ge=0, description="semantic: blur of masks and skeleton, px")
    border_top_px: float = Field(20, ge=0, description="semantic: trusted rows at the top, px")
    border_bottom_px: float = Field(40, ge=0, description="semantic: trusted rows at the bottom, px")
    keep_bottom: float = Field(0.32, ge=0, lt=1, description="semantic: share of rows kept at the bottom")
    blend_bottom: float = Field(0.07, ge=0, lt=1, description="semantic: share of rows that blend into it")
    skeleton: bool = Field(True, description="semantic: trust the centre lines of bright structures")

    threshold_k: float = Field(0.5, ge=0, description="threshold: medians of brightness subtracted")
    svd_k: int = Field(1, ge=1, description="svd: leading components dropped")
    rpca_lam: float | None = Field(
        None, gt=0, description="rpca: weight of the sparse part; None takes 1 / sqrt(pixels)"
    )


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
