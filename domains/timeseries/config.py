"""Settings of training and of sampling, checked when they are made, and their presets.

    preset   network             context             steps     for
    tiny     H 32, 2 blocks, N 16, no lags   2 P to 3 seasons    8,000     a laptop: about 6 minutes on one
    core small    H 64, 3 blocks, N 64            full                10,000    an evening on two cores,
    minutes on a GPU paper    H 64, 3 blocks, N 64            full                128,000   a GPU

`preset_for` adds what the published experiments set per data set: context, lags, skip and guidance scale.

Source of "paper" and of the table: Kollovieh et al. 2023, arXiv:2307.11494, and its code.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, unknown
from domains.timeseries.frequency import canonical, seasonality
from domains.timeseries.scaling import Scaling

__all__ = [
    "DATASETS",
    "PRESETS",
    "Dataset",
    "FlowConfig",
    "Guidance",
    "Kernel",
    "Kind",
    "Placement",
    "SampleConfig",
    "Sampler",
    "TrainConfig",
    "checked",
    "default_context",
    "preset_for",
]

T = TypeVar("T", bound=BaseModel)

Kind = Literal["tsdiff", "tsdiff-cond", "tsflow"]
Guidance = Literal["quantile", "mse", "none"]
Placement = Literal["paper", "reference"]
Sampler = Literal["ddpm", "ddim", "default", "euler"]
Skip = Literal["uniform", "quadratic"]
Kernel = Literal["ou", "se", "periodic", "constant"]
Validation = Literal["holdout", "reference", "none"]


class FlowConfig(BaseModel):
    """The Gaussian-process noise of TSFlow: a sum of kernels over points of a window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernels: tuple[Kernel, ...] = Field(("periodic", "ou"), min_length=1)
    season: int | None = Field(
        None, ge=2, description="period of 'periodic', points; None: the table's season"
    )
    length: float = Field(24.0, gt=0, description="length scale of 'ou' and 'se', points")
    smooth: float = Field(0.5, gt=0, description="length scale of 'periodic', in units of its phase")
    variance: float = Field(1.0, gt=0, description="variance of each kernel, scaled units squared")
    noise: float = Field(0.1, gt=0, description="standard deviation of observations, scaled units")


class TrainConfig(BaseModel):
    """How one model of a table is trained: its window, its network, its schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "tsdiff"
    prediction_length: int = Field(ge=1, description="P, points")
    context_length: int | None = Field(None, ge=1, description="C, points; None: what suits the frequency")
    lags: Literal["auto", "none"] | tuple[int, ...] = Field("auto", description="points")
    scaling: Scaling = "mean"

    hidden: int = Field(64, ge=1)
    blocks: int = Field(3, ge=1)
    states: int = Field(64, ge=1, description="conjugate pairs per channel of a state-space layer")
    init_skip: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)

    diffusion_steps: int = Field(100, ge=2)
    beta_first: float = Field(1e-4, gt=0, lt=1)
    beta_last: float = Field(0.1, gt=0, lt=1)
    flow: FlowConfig = FlowConfig()
    missing: Literal["none", "RM", "BM-B", "BM-E"] = Field(
        "none", description="context values hidden in training of a conditional model; half of them"
    )

    steps: int = Field(10_000, ge=1)
    batch: int = Field(64, ge=1)
    lr: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(0, ge=0)
    clip: float | None = Field(0.5, gt=0)
    ema: float = Field(0.0, ge=0, lt=1, description="0: none, as published")
    validation: Validation = Field(
        "holdout",
        description="holdout: the last P points of each series are kept from training; reference: they are "
        "not; none: no score",
    )
    validate_every: int | None = Field(
        None, ge=1, description="steps between scores; the best weights are kept. None: one score at the end"
    )
    validation_samples: int = Field(16, ge=1)
    validation_series: int | None = Field(64, ge=1, description="series scored at most")


class SampleConfig(BaseModel):
    """How a model is sampled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sampler: Sampler = "ddpm"
    num_steps: int | None = Field(
        None, ge=1, description="None: all steps of ddpm, 25 of ddim and default, 32 of euler"
    )
    skip: Skip = Field("uniform", description="which steps ddim takes")
    eta: float = Field(0.0, ge=0, le=1, description="ddim: share of fresh noise, 0 none, 1 ancestral")
    guidance: Guidance = "quantile"
    scale: float = Field(4.0, description="strength of guidance, > 0")
    placement: Placement = "paper"
    num_samples: int = Field(100, ge=1)
    rows: int = Field(
        4096, ge=1, description="windows x samples at once on a GPU; a CPU takes one window at a time"
    )


class Dataset(NamedTuple):
    """What the published experiments set for one data set."""

    context: int
    prediction: int
    freq: str
    lags: bool
    init_skip: bool
    scale: float


DATASETS: dict[str, Dataset] = {
    "solar_nips": Dataset(336, 24, "h", True, False, 8),
    "electricity_nips": Dataset(336, 24, "h", True, False, 4),
    "traffic_nips": Dataset(336, 24, "h", True, True, 4),
    "exchange_rate_nips": Dataset(360, 30, "B", True, True, 8),
    "m4_hourly": Dataset(312, 48, "h", False, False, 2),
    "uber_tlc_hourly": Dataset(336, 24, "h", True, False, 2),
    "kdd_cup_2018_without_missing": Dataset(312, 48, "h", True, True, 1),
    "wiki2000_nips": Dataset(360, 30, "D", False, False, 2),
}

PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "lags": "none",
        "hidden": 32,
        "blocks": 2,
        "states": 16,
        "batch": 32,
        "lr": 2e-3,
        "steps": 8_000,
        "ema": 0.999,
    },
    "small": {"steps": 10_000, "ema": 0.999},
    "paper": {"steps": 128_000, "validate_every": 6_400},
}


def preset_for(
    preset: str,
    *,
    prediction_length: int,
    freq: str,
    dataset: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """A named preset for a horizon and a frequency, with some settings replaced.

    Args:
        preset: "tiny", "small" or "paper".
        prediction_length: P.
        freq: of the series, for the context.
        dataset: a name of `DATASETS`; "small" and "paper" then take its context, lags and skip.
        changes: settings that replace those of the preset.

    Raises:
        ConfigError: an unknown name or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    settings: dict[str, Any] = {**PRESETS[preset], "prediction_length": prediction_length}
    if dataset is not None and preset != "tiny":
        if dataset not in DATASETS:
            raise unknown("data set", dataset, DATASETS)
        known = DATASETS[dataset]
        settings |= {
            "context_length": known.context,
            "lags": "auto" if known.lags else "none",
            "init_skip": known.init_skip,
        }
    if settings.get("context_length") is None:
        settings["context_length"] = default_context(preset, freq, prediction_length)
    return checked(TrainConfig, {**settings, **(changes or {})})


def default_context(preset: str, freq: str, prediction_length: int) -> int:
    """C for a frequency: 2 P to 3 seasons for "tiny", else 336 for hours, 360 for days, up to 14 seasons."""
    season = seasonality(freq)
    if preset == "tiny":
        return max(2 * prediction_length, min(3 * season, 168))
    known = {"h": 336, "D": 360, "B": 360}
    wanted = known.get(canonical(freq), min(14 * season, 360) if season > 1 else 52)
    return max(wanted, 2 * prediction_length)


def checked(kind: type[T], settings: dict[str, Any]) -> T:
    """Build settings, with pydantic's first complaint as one `ConfigError` line."""
    try:
        return kind(**settings)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from err
