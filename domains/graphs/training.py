"""Training a model on a set of graphs, of either architecture, on the core's loop.

Graphs are padded to the N of their kind, mask and all; one epoch takes every graph once. The learning rate
falls by `decay` after each epoch, as published. Both networks of a GDSS model are trained by one optimiser:
see `gdss`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import ConfigError, DataError
from core.progress import Progress, silent
from core.seeded import seeded
from core.train.config import FitConfig
from core.train.ema import EMA
from core.train.loop import fit
from core.train.samples import Batch
from domains.graphs.config import GraphConfig
from domains.graphs.data import Graphs, GraphSet, Kind
from domains.graphs.gdss import (
    FORMAT,
    ROLE,
    CleanLoss,
    GraphDenoiser,
    GraphModel,
    Moments,
    ScoreLoss,
    model_of,
    process_of,
)
from domains.graphs.networks import ScoreNets
from domains.graphs.transformer import GraphTransformer

__all__ = ["GraphSamples", "build", "denoiser_for", "fit_config", "moments_of", "standardised", "train"]

MEASURED = 20_000  # graphs that the moments are measured on


@dataclass(frozen=True)
class GraphSamples:
    """Training graphs by number, dense for one batch at a time; every graph once per epoch.

    Args:
        graphs: all of them, of which `rows` train.
        rows: row numbers.
        cond: (len(rows), K) standardised properties, or None.
    """

    graphs: GraphSet
    rows: np.ndarray[Any, np.dtype[Any]]
    cond: Tensor | None = None

    def __call__(self, numbers: range, seed: int) -> Batch:
        count = len(self.rows)
        at = np.asarray([_order(count, seed, n // count)[n % count] for n in numbers])
        x0 = self.graphs.batch(self.rows[at]).state()
        return Batch(x0, None if self.cond is None else self.cond[torch.as_tensor(at)])


_ORDERS: dict[tuple[int, int, int], np.ndarray[Any, np.dtype[Any]]] = {}


def _order(count: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[Any]]:
    key = (count, seed, epoch)
    if key not in _ORDERS:
        while len(_ORDERS) > 3:
            _ORDERS.pop(next(iter(_ORDERS)))
        _ORDERS[key] = np.random.default_rng([seed, epoch]).permutation(count)
    return _ORDERS[key]


def build(kind: Kind, config: GraphConfig) -> nn.Module:
    """The untrained network of a configuration, for graphs of a kind.

    Raises:
        ConfigError: the architecture does not suit the target.
    """
    k = len(config.properties)
    if config.arch == "gdss":
        if config.target == "clean":
            raise ConfigError(
                "the networks of 'gdss' predict scores.", hint="Use arch='transformer' for target='clean'."
            )
        attention = {
            "width": config.width,
            "attention": config.attention,
            "powers": config.powers,
            "hidden": config.hidden,
            "final": config.final,
            "heads": config.heads,
            "linears": config.linears,
        }
        nodes = {"depth": config.depth, "width": config.width}
        return ScoreNets(
            kind.features,
            nodes=nodes if config.node_layers == "gcn" else {**nodes, **attention},
            edges={**attention, "layers": config.layers},
            time_input=config.time_input,
            conditions=k,
        )
    if config.target == "score":
        raise ConfigError(
            "the transformer predicts clean graphs.", hint="Use target='clean', or arch='gdss' for scores."
        )
    return GraphTransformer(
        kind.features,
        orders=4 if kind.molecular else 2,
        depth=config.depth,
        nodes=config.width,
        pairs=config.attention,
        heads=config.heads,
        conditions=k,
    )


def denoiser_for(kind: Kind, config: GraphConfig, moments: Moments, *, seed: int = 0) -> GraphDenoiser:
    """An untrained denoiser; its first weights are a function of the seed."""
    with seeded(seed):
        net = build(kind, config)
    spread = float(np.sqrt(np.mean([*np.square(moments.node_std), *[moments.edge_std**2] * kind.max_nodes])))
    return GraphDenoiser(
        net, process_of(config.nodes, config.edges), ve_scale=config.ve_scale, data_std=spread
    )


def moments_of(graphs: Graphs) -> Moments:
    """Mean and standard deviation of existing entries.

    Raises:
        DataError: there is no graph.
    """
    if not len(graphs):
        raise DataError("no graph to measure.")
    nodes = graphs.nodes[graphs.mask].double()
    pair = graphs.mask[:, :, None] & graphs.mask[:, None, :]
    pair = pair & ~torch.eye(pair.shape[-1], dtype=torch.bool)
    edges = graphs.edges[pair].double() if pair.any() else torch.zeros(1, dtype=torch.float64)
    return Moments(
        tuple(nodes.mean(0).tolist()),
        tuple(nodes.std(0, correction=0).tolist()),
        float(edges.mean()),
        float(edges.std(correction=0)),
    )


def fit_config(config: GraphConfig, count: int) -> FitConfig:
    """The settings of the core's loop for a set of `count` training graphs."""
    batch = min(config.batch, count)
    return FitConfig(
        steps=config.steps,
        batch=batch,
        lr=config.lr,
        optimizer="adamw",
        weight_decay=config.weight_decay,
        schedule="exponential" if config.decay < 1 else "constant",
        decay=config.decay ** (batch / count),
        warmup=min(config.warmup, config.steps),
        clip=config.clip,
        ema=EMA(config.ema) if config.ema else None,
        every_steps=None,
        every_seconds=300.0,
        log_every=max(config.steps // 500, 1),
    )


def train(
    graphs: GraphSet,
    config: GraphConfig,
    *,
    split: str | None = "train",
    properties: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    preset: str | None = None,
    progress: Progress = silent,
) -> GraphModel:
    """Train a model of graphs.

    Args:
        graphs: a set; `domains.graphs.sets.read_set` reads one.
        config: network, process, schedule; `config.preset_for` builds one.
        split: which of them train; None takes all.
        properties: values of `config.properties`, one per training graph in the order of the split.
        seed: of weights, order and noise; same seed, same model.
        folder: receives snapshots, log and `model.safetensors`; None keeps everything in memory.
        resume: go on from the newest snapshot in `folder`.
        preset: its name, for the card.

    Raises:
        DataError: there is no training graph, or a property is missing or not finite.
        NumericalError: the loss is not finite; the last good snapshot is named.
    """
    rows = graphs.at(split)
    if not len(rows):
        raise DataError(f"'{graphs.name}' has no training graphs.")
    cond, scales = standardised(config.properties, properties or {}, len(rows))
    some = graphs.batch(rows[:MEASURED])
    moments = moments_of(some)
    denoiser = denoiser_for(graphs.kind, config, moments, seed=seed).to(device)
    drop = config.drop if config.properties else 0.0
    each = config.drop_each if config.properties else 0.0
    loss = (
        CleanLoss(edge_weight=config.edge_weight, drop=drop, drop_each=each)
        if config.target == "clean"
        else ScoreLoss(drop=drop, drop_each=each)
    )
    sizes = np.bincount(graphs.ragged.sizes[rows], minlength=graphs.kind.max_nodes + 1)
    card = {
        "format": FORMAT,
        "kind": graphs.kind.to_dict(),
        "sizes": sizes.tolist(),
        "moments": asdict(moments),
        "config": config.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
        "properties": scales,
        "graphs": len(rows),
    }
    checkpoint = fit(
        loss,
        denoiser,
        GraphSamples(graphs, rows, cond),
        fit_config(config, len(rows)),
        seed=seed,
        folder=folder,
        resume=resume,
        card={
            "role": ROLE,
            "preset": preset,
            "net": denoiser.net.config,
            "training": {"graphs": card},
        },
        progress=progress,
    )
    return model_of(checkpoint)


def standardised(
    names: Sequence[str], values: Mapping[str, Sequence[float]], count: int
) -> tuple[Tensor | None, dict[str, tuple[float, float]]]:
    """Columns (count, K) of mean 0 and standard deviation 1, and name -> (mean, standard deviation).

    Raises:
        DataError: a property is missing, of another length, not finite, or constant.
    """
    if not names:
        return None, {}
    columns, scales = [], {}
    for name in names:
        if name not in values:
            raise DataError(f"property '{name}' is missing (found: {', '.join(values) or 'none'}).")
        column = torch.as_tensor(np.asarray(values[name], dtype=np.float64))
        if len(column) != count:
            raise DataError(f"property '{name}' has {len(column)} values for {count} training graphs.")
        if not bool(torch.isfinite(column).all()):
            bad = int((~torch.isfinite(column)).nonzero()[0])
            raise DataError(f"property '{name}' is not finite at graph {bad}.", hint="Leave that graph out.")
        mean, std = float(column.mean()), float(column.std())
        if not std > 0:
            raise DataError(f"property '{name}' has one value throughout, nothing can be learned from it.")
        scales[name] = (mean, std)
        columns.append(((column - mean) / std).float())
    return torch.stack(columns, 1), scales
