"""Settings of models of graphs and of sampling, checked when they are made, and their presets.

    preset             network (nodes / edges parameters)   process              steps    for
    community_small    gdss, 72,434 / 134,369               VP .1-1, VP .1-1     5,000    parity with GDSS
    ego_small          gdss, 44,093 / 135,713               VP .1-1, VP .1-1     10,000   parity with GDSS
    enzymes            gdss, 182,066 / 204,113              VP .1-1, VE .2-1     40,000   parity with GDSS
    grid               gdss, 170,081 / 203,153              VP .1-1, VP .2-.8    50,000   parity with GDSS
    qm9                gdss, 8,564 / 23,825                 VE .1-1, VE .1-1     35,400   parity with GDSS
    zinc250k           gdss, 11,429 / 62,873                VP .1-1, VE .2-1     109,500  parity with GDSS
    zinc250k_attention gdss, 22,721 / 62,873                VP .1-1, VE .2-1     219,000  parity with GDSS
    wide               gdss, told the time                  VP .1-20 both        5,000    any small graphs
    molecules          transformer, clean graph             VP .1-20 both        20,000   any molecules
    qm9_small          transformer, clean graph, 4 layers   cosine both          12,000   QM9 on one core
    tiny               transformer, clean graph, 2 layers   VP .1-20 both        4,000    tests and demos

Source of the published settings: Jo, Lee & Hwang 2022, arXiv:2202.02514, table 6, and its code. Deviations,
for all of them: weight decay is decoupled from the gradient, and the gradients of both networks are clipped
by one common norm.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, unknown

__all__ = [
    "PRESETS",
    "GraphConfig",
    "GraphSampling",
    "Noising",
    "Sampler",
    "checked",
    "preset_for",
]

T = TypeVar("T", bound=BaseModel)
Arch = Literal["gdss", "transformer"]
Target = Literal["score", "clean"]
Sampler = Literal["s4", "em", "reverse", "ode", "default", "ancestral"]
Prior = Literal["normal", "matched"]


class Noising(BaseModel):
    """How one part of a graph is corrupted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["vp", "ve", "cosine"] = "vp"
    low: float = Field(0.1, gt=0, description="beta at t = 0, or the least standard deviation")
    high: float = Field(1.0, gt=0, description="beta at t = 1, or the largest standard deviation")


class GraphSampling(BaseModel):
    """How a model is sampled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    solver: Sampler = "s4"
    steps: int = Field(1000, ge=1, description="steps of the grid; ode makes two calls a step")
    corrector: bool = Field(True, description="Langevin step before each predictor step; built into s4")
    snr: float = Field(0.2, gt=0)
    scale_eps: float = Field(0.7, ge=0, description="factor of the corrector's noise")
    pooled: bool = Field(
        False, description="average norms over the batch, as published: results then depend on the chunk"
    )
    s4_variance: Literal["exact", "reference"] = "exact"
    prior: Prior = Field(
        "normal", description="normal: N(0, 1), as published; matched: the data's moments at t = 1"
    )
    quantise: Literal["threshold", "argmax"] = "threshold"
    chunk: int = Field(128, ge=1, description="graphs at once")


class GraphConfig(BaseModel):
    """How a model of graphs is built and trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Arch = "gdss"
    target: Target = "score"
    nodes: Noising = Noising()
    edges: Noising = Noising()
    time_input: Literal["none", "film"] = "none"
    ve_scale: Literal["none", "std"] = Field(
        "std", description="none: the edge or node network of a VE part gives the score itself, as published"
    )

    node_layers: Literal["gcn", "attention"] = Field("gcn", description="gdss: what the node network is of")
    depth: int = Field(3, ge=1, description="gdss: layers of the node network; transformer: blocks")
    width: int = Field(32, ge=1)
    attention: int = Field(32, ge=1, description="gdss: of queries; transformer: width of pairs")
    layers: int = Field(5, ge=2, description="gdss: attention blocks of the edge network")
    powers: int = Field(2, ge=1)
    hidden: int = Field(8, ge=1)
    final: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    linears: int = Field(2, ge=1)

    properties: tuple[str, ...] = Field((), description="numbers that the network is told")
    drop: float = Field(0.1, ge=0, le=1, description="share of samples trained without them")
    drop_each: float = Field(
        0.2, ge=0, le=1, description="of several, share that is hidden on its own in the other samples"
    )

    steps: int = Field(5000, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(0.01, gt=0)
    decay: float = Field(1.0, gt=0, le=1, description="factor of the rate after each epoch")
    warmup: int = Field(0, ge=0)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float | None = Field(1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1, description="0: the last weights")
    edge_weight: float = Field(1.0, gt=0, description="of the edge loss, for clean graphs")
    sampling: GraphSampling = GraphSampling()


def _published(
    steps: int, batch: int, lr: float, ema: float, kinds: tuple[Noising, Noising], **net: int
) -> dict[str, Any]:
    return {
        "nodes": kinds[0],
        "edges": kinds[1],
        "ve_scale": "none",
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "decay": 0.999,
        "ema": ema,
        **net,
    }


VP1 = Noising(kind="vp", low=0.1, high=1.0)
WIDE = Noising(kind="vp", low=0.1, high=20.0)
COSINE = Noising(kind="cosine")
SMALL_VE = Noising(kind="ve", low=0.1, high=1.0)
MIDDLE_VE = Noising(kind="ve", low=0.2, high=1.0)
MOLECULE = {"depth": 2, "width": 16, "attention": 16, "linears": 3}
CLEAN: dict[str, Any] = {
    "arch": "transformer",
    "target": "clean",
    "nodes": WIDE,
    "edges": WIDE,
    "lr": 5e-4,
    "warmup": 100,
    "edge_weight": 5.0,
    "weight_decay": 1e-12,
    "sampling": GraphSampling(
        solver="ancestral", steps=100, corrector=False, prior="matched", quantise="argmax"
    ),
}

PRESETS: dict[str, dict[str, Any]] = {
    "community_small": {
        **_published(5000, 128, 0.01, 0.0, (VP1, VP1), depth=3),
        "sampling": GraphSampling(solver="em", snr=0.05),
    },
    "ego_small": {
        **_published(10_000, 128, 0.01, 0.0, (VP1, VP1), depth=2),
        "sampling": GraphSampling(solver="em", corrector=False),
    },
    "enzymes": {
        **_published(40_000, 64, 0.01, 0.999, (VP1, MIDDLE_VE), depth=5, layers=7),
        "sampling": GraphSampling(solver="s4", snr=0.15),
    },
    "grid": {
        **_published(50_000, 8, 0.01, 0.999, (VP1, Noising(low=0.2, high=0.8)), depth=5, layers=7),
        "sampling": GraphSampling(solver="reverse", snr=0.1, chunk=8),
    },
    "qm9": {
        **_published(35_400, 1024, 0.005, 0.0, (SMALL_VE, SMALL_VE), layers=3, **MOLECULE),
        "sampling": GraphSampling(solver="reverse", snr=0.2, chunk=1000),
    },
    "zinc250k": {
        **_published(109_500, 1024, 0.005, 0.0, (VP1, MIDDLE_VE), layers=6, **MOLECULE),
        "sampling": GraphSampling(solver="reverse", snr=0.2, scale_eps=0.9, chunk=500),
    },
    "zinc250k_attention": {
        **_published(219_000, 1024, 0.005, 0.0, (VP1, MIDDLE_VE), layers=6, **MOLECULE),
        "node_layers": "attention",
        "sampling": GraphSampling(solver="reverse", snr=0.2, scale_eps=0.8, chunk=500),
    },
    "wide": {
        "nodes": WIDE,
        "edges": WIDE,
        "time_input": "film",
        "lr": 0.003,
        "steps": 5000,
        "sampling": GraphSampling(solver="ancestral", steps=100, corrector=False, prior="matched"),
    },
    "molecules": {**CLEAN, "depth": 6, "width": 128, "attention": 32, "heads": 8, "steps": 20_000},
    "qm9_small": {
        **CLEAN,
        "nodes": COSINE,
        "edges": COSINE,
        "depth": 4,
        "width": 64,
        "attention": 32,
        "lr": 2e-3,
        "decay": 0.9,
        "steps": 12_000,
        "sampling": GraphSampling(
            solver="ancestral", steps=50, corrector=False, prior="matched", quantise="argmax"
        ),
    },
    "tiny": {**CLEAN, "depth": 2, "width": 48, "attention": 16, "lr": 2e-3, "batch": 64, "steps": 4000},
}


def preset_for(preset: str, changes: Mapping[str, Any] | None = None) -> GraphConfig:
    """A named preset, with some settings replaced.

    Raises:
        ConfigError: an unknown name or setting, or a value out of range.
    """
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    return checked(GraphConfig, {**PRESETS[preset], **(changes or {})})


def checked(kind: type[T], settings: dict[str, Any]) -> T:
    """Build settings, with pydantic's first complaint as one `ConfigError` line."""
    try:
        return kind(**settings)
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}={first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.") from err
