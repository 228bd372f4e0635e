"""Regressors of properties on noisy graphs: trained on the process's own noise, read by gradient guidance.

    P(x_t, t) -> standardised properties (B, K);   loss  mean_k (P_k - y_k)^2  at times uniform in t

The network is a graph transformer's trunk with a head on the mean of its nodes. A regressor belongs to the
process that it was trained under; a model under another process refuses it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import CheckpointError, ConfigError, DataError
from core.process import Product, from_record, to_record
from core.progress import Progress, silent
from core.seeded import seeded
from core.state import Source, uniform
from core.train.checkpoint import Checkpoint, fill, load
from core.train.config import FitConfig
from core.train.loop import fit
from core.train.samples import Batch
from domains.graphs.config import GraphConfig
from domains.graphs.data import GraphSet, Kind
from domains.graphs.gdss import process_of
from domains.graphs.training import GraphSamples, standardised
from domains.graphs.transformer import GraphTransformer

__all__ = ["Predictor", "PropertyLoss", "PropertyNet", "load_predictor", "train_property"]

ROLE = "graph-property"


class PropertyNet(nn.Module):
    """`net(x, t) -> (B, K)`, invariant under permutation of nodes."""

    def __init__(
        self, features: int, outputs: int, *, depth: int = 2, nodes: int = 48, pairs: int = 16, heads: int = 4
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "features": features,
            "outputs": outputs,
            "depth": depth,
            "nodes": nodes,
            "pairs": pairs,
            "heads": heads,
        }
        self.trunk = GraphTransformer(
            features, orders=1, depth=depth, nodes=nodes, pairs=pairs, heads=heads, leave=False
        )
        self.head = nn.Sequential(nn.Linear(2 * nodes, nodes), nn.SiLU(), nn.Linear(nodes, outputs))

    def forward(self, x: Mapping[str, Tensor], t: Tensor, cond: Any = None) -> Tensor:
        h = self.trunk.hidden(x, t)
        mask = x["mask"].unsqueeze(-1).to(h.dtype)
        total = (h * mask).sum(1)
        return self.head(torch.cat([total / mask.sum(1).clamp(min=1), total / mask.shape[1]], -1))


@dataclass(frozen=True)
class PropertyLoss:
    """Mean squared error of standardised properties at noisy graphs; `Batch.cond` holds them, (B, K)."""

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        x0 = batch.x0
        low, high = denoiser.process.ends
        u = uniform((len(x0["mask"]),), gen, dtype=torch.float64, device=x0["mask"].device)
        t = low + (high - low) * u
        x, _ = denoiser.process.perturb(x0, t, gen)
        found = denoiser.net(x, t.to(x["nodes"].dtype))
        return (found - batch.cond).square().mean(1)


class _Model(nn.Module):
    """What the loop trains: a network under a process."""

    def __init__(self, net: nn.Module, process: Product) -> None:
        super().__init__()
        self.net, self.process = net, process


@dataclass(frozen=True)
class Predictor:
    """A trained regressor.

    Attributes:
        net: `net(x, t) -> (B, K)`, standardised.
        kind: of graph.
        process: that it was trained under.
        properties: name -> (mean, standard deviation), in order.
        checkpoint: what is stored.
    """

    net: PropertyNet
    kind: Kind
    process: Product
    properties: Mapping[str, tuple[float, float]]
    checkpoint: Checkpoint

    def __call__(self, x: Mapping[str, Tensor], t: Any) -> Tensor:
        """Standardised properties (B, K) of noisy states at a time or times (B,); differentiable."""
        like = x["nodes"]
        times = t.to(like) if isinstance(t, Tensor) else like.new_full((len(like),), t)
        return self.net(x, times.expand(len(like)))

    def column(self, name: str) -> int:
        """Position of a property.

        Raises:
            ConfigError: the regressor does not know it.
        """
        if name not in self.properties:
            raise ConfigError(f"the predictor knows {', '.join(self.properties)}, got '{name}'.")
        return list(self.properties).index(name)


def train_property(
    graphs: GraphSet,
    properties: Mapping[str, Sequence[float]],
    process: GraphConfig,
    *,
    split: str | None = "train",
    steps: int = 2000,
    batch: int = 128,
    lr: float = 2e-3,
    depth: int = 2,
    width: int = 48,
    seed: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Predictor:
    """Train a regressor of properties on noisy graphs.

    Args:
        properties: name -> one value per graph of the split, finite.
        process: settings of the model that will be guided; its processes of nodes and edges are used.
        depth, width: of the network.

    Raises:
        DataError: a property is missing, not finite or constant, or there are no graphs.
    """
    rows = graphs.at(split)
    if not len(rows) or not properties:
        raise DataError("a predictor needs graphs and at least one property.")
    cond, scales = standardised(tuple(properties), properties, len(rows))
    with seeded(seed):
        net = PropertyNet(graphs.kind.features, len(scales), depth=depth, nodes=width)
    model = _Model(net, process_of(process.nodes, process.edges)).to(device)
    config = FitConfig(
        steps=steps,
        batch=min(batch, len(rows)),
        lr=lr,
        optimizer="adamw",
        schedule="cosine",
        warmup=min(50, steps),
        every_steps=None,
        every_seconds=300.0,
        log_every=max(steps // 500, 1),
    )
    card = {"kind": graphs.kind.to_dict(), "properties": scales, "graphs": len(rows)}
    checkpoint = fit(
        PropertyLoss(),
        model,
        GraphSamples(graphs, rows, cond),
        config,
        seed=seed,
        folder=folder,
        resume=resume,
        card={"role": ROLE, "net": net.config, "training": {"graphs": card}},
        progress=progress,
    )
    return predictor_of(checkpoint)


def predictor_of(checkpoint: Checkpoint) -> Predictor:
    """The regressor that a checkpoint holds.

    Raises:
        CheckpointError: it holds none.
    """
    if checkpoint.role != ROLE:
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected '{ROLE}'.",
            hint="Train one: suffuse graphs train-property.",
        )
    card = checkpoint.training["graphs"]
    net = PropertyNet(**checkpoint.net)
    fill(net, checkpoint.weights)
    plain = from_record(checkpoint.process)
    return Predictor(
        net=net.eval().requires_grad_(False),
        kind=Kind.from_dict(card["kind"]),
        process=plain,
        properties={name: tuple(pair) for name, pair in card["properties"].items()},
        checkpoint=checkpoint,
    )


def load_predictor(path: Path) -> Predictor:
    """Read a regressor from its file or from the folder that holds it.

    Raises:
        CheckpointError: it is missing, truncated, or no regressor of properties.
    """
    return predictor_of(load(path / "model.safetensors" if path.is_dir() else path))


def same_process(predictor: Predictor, process: Product) -> None:
    """Refuse a regressor that was trained under another process.

    Raises:
        CheckpointError: the processes differ.
    """
    if to_record(process) != to_record(predictor.process):
        raise CheckpointError(
            "the predictor was trained under another process than the model.",
            hint="Train it with the model's preset: suffuse graphs train-property --run.",
        )
