"""The system of SDEs: two networks as one denoiser over nodes and edges, its losses, and the model on disk.

The process is a product, nodes beside edges, independent given the graph and joint through it. Each network
sees both parts, so a pair of networks is one denoiser:

    D_part = (x_part - sigma eps_part) / alpha     eps = output ("std"), or -sigma output ("none": the output
                                                   is the score itself)
    D_part = expectation of the categorical output (clean graphs)

Losses, over all entries of a graph, both triangles:

    ScoreLoss   1/2 sum |eps - eps_hat|^2 over nodes and edges (sigma s + z of the source), t on [1e-5, 1]
    CleanLoss   cross entropy of node types + edge_weight x cross entropy of edge types, means over entries

Both networks are trained by one optimiser. Adam acts on each weight alone, and the loss is a sum of terms
without weights in common, so this equals two optimisers except for the clipped norm, which is common here.

Sources: Jo, Lee & Hwang 2022, arXiv:2202.02514, eqs. 5 and 6, and its code (parameterisation); predicting
the clean graph: Jo, Kim & Hwang 2024, arXiv:2302.03596 (GruM), and Vignac et al. 2023, arXiv:2209.14734.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.denoise import Posterior
from core.device import bare
from core.errors import CheckpointError, ConfigError
from core.process import VE, VP, CosineVP, Product
from core.process.scheduled import fitted
from core.state import Masked, Source, Symmetric, uniform
from core.train.checkpoint import Checkpoint, fill, load, save
from core.train.samples import Batch
from domains.graphs.config import GraphConfig, GraphSampling, Noising, checked
from domains.graphs.data import Kind
from domains.graphs.networks import ScoreNets
from domains.graphs.transformer import GraphTransformer

__all__ = [
    "CleanLoss",
    "GraphDenoiser",
    "GraphModel",
    "Moments",
    "ScoreLoss",
    "load_model",
    "model_of",
    "network_of",
    "process_of",
    "save_model",
]

FORMAT = 1
ROLE = "graphs"
PARTS = ("nodes", "edges")


def process_of(nodes: Noising, edges: Noising) -> Product:
    """The product process of a graph: masked nodes beside a symmetric adjacency."""
    return Product({"nodes": _part(nodes, Masked()), "edges": _part(edges, Symmetric())})


def _part(noising: Noising, space: Any) -> Any:
    match noising.kind:
        case "vp":
            return VP(noising.low, noising.high, space=space)
        case "ve":
            return VE(noising.low, noising.high, space=space)
        case _:
            return CosineVP(space=space)


class GraphDenoiser(nn.Module):
    """A network over graphs as a denoiser.

    Args:
        net: `net(x, t, cond) -> {"nodes", "edges"}`; its `clean` says that the answers are categorical.
        process: product of the two parts.
        ve_scale: what the output of a VE part means, see the module docstring.
        data_std: root-mean-square standard deviation of the clean entries, for default plans.
    """

    def __init__(
        self, net: nn.Module, process: Product, *, ve_scale: str = "std", data_std: float = 0.5
    ) -> None:
        super().__init__()
        self.net, self.process, self.ve_scale, self.data_std = net, process, ve_scale, data_std

    @property
    def clean(self) -> bool:
        """Whether the network answers with the law of the clean graph."""
        return getattr(bare(self.net), "target", "score") == "clean"

    def forward(self, x: Mapping[str, Tensor], t: Any, cond: Any = None) -> Posterior:
        """Posterior mean {"nodes" (B, N, F), "edges" (B, N, N), "mask"} of the clean graph."""
        times = _times(t, x["nodes"])
        out = self.net(x, times.to(x["nodes"].dtype), cond)
        if self.clean:
            orders = torch.arange(out["edges"].shape[-1], dtype=x["edges"].dtype, device=x["edges"].device)
            mean = {"nodes": out["nodes"].softmax(-1), "edges": out["edges"].softmax(-1) @ orders}
            return Posterior(mean=self.process.space.project({**mean, "mask": x["mask"]}))
        mean = {"mask": x["mask"]}
        for name in PARTS:
            part = self.process.parts[name]
            when = times if isinstance(t, Tensor) else float(t)
            alpha, sigma = (fitted(v, x[name]) for v in (part.alpha(when), part.sigma(when)))
            eps = -sigma * out[name] if self._bare(name) else out[name]
            mean[name] = (x[name] - sigma * eps) / alpha
        return Posterior(mean=mean)

    def noise(self, x: Mapping[str, Tensor], t: Tensor, cond: Any = None) -> dict[str, Tensor]:
        """The predicted noise of each part, at times (B,), float64."""
        if self.clean:
            raise ConfigError("a network that answers with clean graphs predicts no noise.")
        out = self.net(x, t.to(x["nodes"].dtype), cond)
        sigma = {name: fitted(self.process.parts[name].sigma(t), x[name]) for name in PARTS}
        return {name: -sigma[name] * out[name] if self._bare(name) else out[name] for name in PARTS}

    def _bare(self, name: str) -> bool:
        return self.ve_scale == "none" and isinstance(self.process.parts[name], VE)


@dataclass(frozen=True)
class ScoreLoss:
    """1/2 sum |eps - eps_hat|^2 of each graph; see the module docstring.

    Args:
        first: the smallest time.
        drop: share of graphs whose condition is hidden.
        drop_each: share of the other graphs in which a number of several is hidden on its own.
    """

    first: float = 1e-5
    drop: float = 0.0
    drop_each: float = 0.0

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        x0 = batch.x0
        t = self.first + (1 - self.first) * _unit(x0, gen)
        x, eps = denoiser.process.perturb(x0, t, gen)
        found = denoiser.noise(x, t, hidden(batch.cond, self.drop, gen, self.drop_each))
        terms = [(found[k] - eps[k]).square().flatten(1).sum(1) / 2 for k in PARTS]
        return terms[0] + terms[1]


@dataclass(frozen=True)
class CleanLoss:
    """Cross entropies of the clean graph given the noisy one, in nats per entry; see the module docstring."""

    edge_weight: float = 5.0
    drop: float = 0.0
    drop_each: float = 0.0

    def __call__(self, denoiser: Any, batch: Batch, gen: Source) -> Tensor:
        x0, process = batch.x0, denoiser.process
        low, high = process.ends
        t = low + (high - low) * _unit(x0, gen)
        x, _ = process.perturb(x0, t, gen)
        out = denoiser.net(x, t.to(x["nodes"].dtype), hidden(batch.cond, self.drop, gen, self.drop_each))
        types, orders = x0["nodes"].argmax(-1), x0["edges"].round().long()
        node = F.cross_entropy(out["nodes"].flatten(0, 1), types.flatten(), reduction="none")
        edge = F.cross_entropy(out["edges"].flatten(0, 2), orders.flatten(), reduction="none")
        mask = x0["mask"].to(node.dtype)
        pair = mask[:, :, None] * mask[:, None, :]
        pair = pair * (1 - torch.eye(pair.shape[-1], dtype=pair.dtype, device=pair.device))
        node = (node.reshape(mask.shape) * mask).sum(1) / mask.sum(1)
        edge = (edge.reshape(pair.shape) * pair).flatten(1).sum(1) / pair.flatten(1).sum(1).clamp(min=1)
        return node + self.edge_weight * edge


def hidden(cond: Any, share: float, gen: Source, each: float = 0.0) -> Any:
    """A condition (B, K) in which a share of the rows, drawn at random, says "not given" (NaN); where K > 1,
    so do numbers of the other rows, each with probability `each`: a network that has always seen all of them
    or none cannot be told one alone.
    """
    if cond is None or share == 0:
        return cond
    where: dict[str, Any] = {"dtype": torch.float64, "device": cond.device}
    u = uniform((len(cond),), gen, **where)
    out = torch.where((u < share)[:, None], math.nan, cond)
    if each == 0 or cond.shape[1] == 1:
        return out
    return torch.where(uniform(tuple(cond.shape), gen, **where) < each, math.nan, out)


def _unit(x0: Mapping[str, Tensor], gen: Source) -> Tensor:
    like = x0["nodes"]
    return uniform((len(like),), gen, dtype=torch.float64, device=like.device)


def _times(t: Any, like: Tensor) -> Tensor:
    if isinstance(t, Tensor):
        return t.to(torch.float64).expand(len(like))
    return like.new_full((len(like),), t, dtype=torch.float64)


def network_of(record: Mapping[str, Any]) -> nn.Module:
    """The untrained network that `net.config` described.

    Raises:
        CheckpointError: the record names a network that this version does not know.
    """
    settings = dict(record)
    kind = settings.pop("kind", None)
    if kind == "gdss":
        return ScoreNets(**settings)
    if kind == "transformer":
        return GraphTransformer(**settings)
    raise CheckpointError(f"unknown graph network '{kind}' (known: gdss, transformer).")


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of clean entries: of each node feature, and of a pair.

    A run that begins at a time with signal left begins with these moments (`prior="matched"`).
    """

    node_mean: tuple[float, ...]
    node_std: tuple[float, ...]
    edge_mean: float
    edge_std: float


@dataclass(frozen=True)
class GraphModel:
    """A trained model of graphs.

    Attributes:
        denoiser: ready to sample.
        kind: of graph: N, F, elements.
        sizes: how many training graphs have 0, 1 .. N nodes.
        moments: of the training graphs.
        config: how it was built and trained.
        sampling: how it is sampled by default.
        properties: name -> (mean, standard deviation) of what it is conditioned on, in order.
        checkpoint: what is stored.
    """

    denoiser: GraphDenoiser
    kind: Kind
    sizes: tuple[int, ...]
    moments: Moments
    config: GraphConfig
    sampling: GraphSampling
    properties: Mapping[str, tuple[float, float]]
    checkpoint: Checkpoint

    @property
    def process(self) -> Product:
        return self.denoiser.process


def model_of(checkpoint: Checkpoint) -> GraphModel:
    """The model that a checkpoint holds, ready to sample.

    Raises:
        CheckpointError: it holds no model of graphs, or one of another format.
    """
    card = checkpoint.training.get("graphs")
    if checkpoint.role != ROLE or not isinstance(card, Mapping):
        raise CheckpointError(
            f"the checkpoint has the role '{checkpoint.role}', expected '{ROLE}'.",
            hint="Train one: suffuse graphs train.",
        )
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"the model has format {card.get('format')}, this version reads {FORMAT}.", hint="Train it again."
        )
    net = network_of(checkpoint.net)
    fill(net, checkpoint.weights)
    config = checked(GraphConfig, dict(card["config"]))
    denoiser = GraphDenoiser(
        net,
        process_of(config.nodes, config.edges),
        ve_scale=config.ve_scale,
        data_std=checkpoint.data_std,
    )
    found = card["moments"]
    return GraphModel(
        denoiser=denoiser.eval().requires_grad_(False),
        kind=Kind.from_dict(card["kind"]),
        sizes=tuple(card["sizes"]),
        moments=Moments(
            tuple(found["node_mean"]), tuple(found["node_std"]), found["edge_mean"], found["edge_std"]
        ),
        config=config,
        sampling=checked(GraphSampling, dict(card["sampling"])),
        properties={name: tuple(pair) for name, pair in card["properties"].items()},
        checkpoint=checkpoint,
    )


def save_model(model: GraphModel, folder: Path) -> Path:
    """Write `model.safetensors` and, for readers, `card.json` into a folder; returns the first."""
    path = folder / "model.safetensors"
    save(path, model.checkpoint)
    card = {
        "preset": model.checkpoint.preset,
        "net": model.checkpoint.net,
        "process": model.checkpoint.process,
        "training": model.checkpoint.training,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return path


def load_model(path: Path, *, kind: Kind | None = None) -> GraphModel:
    """Read a model from its file or from the folder that holds it.

    Args:
        kind: what the graphs at hand are; the model must be of the same N, F and elements.

    Raises:
        CheckpointError: it is missing, truncated, of another format, or of another kind of graphs.
    """
    model = model_of(load(path / "model.safetensors" if path.is_dir() else path))
    own = model.kind
    if kind is not None and (own.max_nodes, own.features, own.atoms) != (
        kind.max_nodes,
        kind.features,
        kind.atoms,
    ):
        raise CheckpointError(
            f"the model is of N={own.max_nodes}, F={own.features}, elements {own.atoms or 'none'}; the data "
            f"are of N={kind.max_nodes}, F={kind.features}, elements {kind.atoms or 'none'}.",
            hint="Train a model on these data.",
        )
    return model
