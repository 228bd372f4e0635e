"""Circuits: a structure with weights and leaves, evaluated layer by layer, up and down.

Regions of one depth, kind and number of inputs form a layer and are computed together. With x the log values
of the inputs of a sum, m their maximum, and W (inputs, nodes) the weights, columns summing to one,

    up      value = log(e^(x - m) W) + m
    down    flow(input) = e^(x - m) * ((flow / e^(x - m) W) W^T)

The flow of a node is the derivative of the log density by the node's log value: the posterior probability
that the node took part. At the root it is 1; a product hands its flow to every input. Values stay in log
space, so densities of hundreds of variables neither overflow nor vanish; flows are probabilities and do not
need to.

Sources: Peharz et al. 2020, arXiv:2004.06231, eq. 4 (sums through the maximum); Darwiche 2003, J. ACM 50(3),
section 5 (derivatives as posteriors).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.circuit.leaves import Evidence, Leaves, Met, simplex
from core.circuit.structure import Graph
from core.errors import ConfigError

__all__ = ["Circuit", "Down", "Layer", "Layout", "Up", "assemble"]


class Layer(NamedTuple):
    """Regions computed together: rows start .. stop of the value table, from the rows `inputs` (R, n)."""

    kind: str
    start: int
    stop: int
    inputs: Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """A graph in layers. Row 0 of the table holds log value 0, which pads products; leaves come next.

    Attributes:
        variables: variable of each leaf region, (L,).
        layers: the rest, bottom up; the root is the only region of the last.
    """

    variables: Tensor
    layers: tuple[Layer, ...]
    width: int

    @classmethod
    def of(cls, graph: Graph) -> "Layout":
        """The layers of a graph."""
        depth: list[int] = []
        for region in graph.regions:
            depth.append(1 + max((depth[i] for i in region.inputs), default=-1))
        groups: dict[tuple[Any, ...], list[int]] = {}
        for number, region in enumerate(graph.regions):
            inputs = 0 if region.kind == "product" else len(region.inputs)
            groups.setdefault((depth[number], region.kind, inputs, -region.width), []).append(number)
        row: dict[int, int] = {}
        variables: list[int] = []
        layers = []
        for key in sorted(groups):
            members, start = groups[key], len(row) + 1
            row |= {number: start + i for i, number in enumerate(members)}
            if key[1] == "leaf":
                variables = [next(iter(graph.regions[number].scope)) for number in members]
                continue
            lists = [[row[i] for i in graph.regions[number].inputs] for number in members]
            longest = max(map(len, lists))
            padded = torch.tensor([each + [0] * (longest - len(each)) for each in lists])
            layers.append(Layer(key[1], start, start + len(members), padded))
        return cls(torch.tensor(variables), tuple(layers), graph.width)

    @property
    def rows(self) -> int:
        """Rows of the value table; the root is kept apart."""
        return self.layers[-1].start

    @cached_property
    def sums(self) -> tuple[Layer, ...]:
        """The sum layers, bottom up; the weights of a circuit follow this order."""
        return tuple(layer for layer in self.layers if layer.kind == "sum")

    def to(self, device: torch.device) -> "Layout":
        """The same layers on another device."""
        layers = tuple(layer._replace(inputs=layer.inputs.to(device)) for layer in self.layers)
        return Layout(self.variables.to(device), layers, self.width)


class Up(NamedTuple):
    """Log density (B,), per sum layer e^(x - m), (R, B, I), and e^(x - m) W, (R, B, O), and the leaves."""

    log_prob: Tensor
    weights: tuple[Tensor, ...]
    totals: tuple[Tensor, ...]
    leaves: Met


class Down(NamedTuple):
    """A downward pass: flows of the leaves, (L, B, K), and flow / total of each sum layer, (R, B, O)."""

    leaves: Tensor
    shares: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Circuit:
    """A density over V variables.

    Args:
        layout: the structure in layers.
        weights: per sum layer (R, I, O), positive, summing to one over I, the nodes of all inputs.
        leaves: univariate laws.
    """

    layout: Layout
    weights: tuple[Tensor, ...]
    leaves: Leaves

    def __post_init__(self) -> None:
        for layer, weight in zip(self.layout.sums, self.weights, strict=True):
            top = layer is self.layout.layers[-1]
            inputs = layer.inputs.shape[1] * self.layout.width
            expected = (layer.stop - layer.start, inputs, 1 if top else self.layout.width)
            if weight.shape != expected:
                raise ConfigError(f"a sum layer has weights {expected}, got {tuple(weight.shape)}.")
            if not bool((weight > 0).all()):
                raise ConfigError("weights must be positive.", hint="Leave edges without weight out.")

    @property
    def variables(self) -> int:
        """V."""
        return int(self.layout.variables.max()) + 1

    @property
    def parameters(self) -> int:
        """Free numbers: weights less one per sum node, and those of the leaves."""
        return sum(w.numel() - w[:, 0].numel() for w in self.weights) + self.leaves.parameters

    def to(self, where: torch.dtype | torch.device) -> "Circuit":
        """The same circuit in another precision or on another device."""
        layout = self.layout if isinstance(where, torch.dtype) else self.layout.to(where)
        return Circuit(layout, tuple(w.to(where) for w in self.weights), self.leaves.to(where))

    def up(self, evidence: Evidence) -> Up:
        """Evaluate from the leaves to the root: the log of the expected likelihood of the evidence."""
        met = self.leaves.meet(evidence)  # type: ignore[arg-type]
        count, batch, width = met.log.shape
        table = met.log.new_empty(self.layout.rows, batch, width)
        table[0] = 0
        table[1 : count + 1] = met.log
        exps: list[Tensor] = []
        totals: list[Tensor] = []
        out = met.log
        for layer in self.layout.layers:
            if layer.kind == "product":
                out = table[layer.inputs].sum(1)
            else:
                x = _joined(table, layer.inputs)
                top = x.amax(2, keepdim=True).clamp_min(torch.finfo(x.dtype).min)
                exps.append((x - top).exp_())
                totals.append(exps[-1] @ self.weights[len(totals)])
                out = totals[-1].log().add_(top)
            if layer.stop <= self.layout.rows:
                table[layer.start : layer.stop] = out
        return Up(out[0, :, 0], tuple(exps), tuple(totals), met)

    def down(self, up: Up) -> Down:
        """Send the root's flow back to the leaves."""
        width, batch = self.layout.width, up.log_prob.shape[0]
        flow = up.totals[0].new_zeros(self.layout.rows, batch, width)
        number = len(self.weights)
        shares: list[Tensor] = []
        for layer in reversed(self.layout.layers):
            top = layer.start == self.layout.rows
            own = flow.new_ones(1, batch, 1) if top else flow[layer.start : layer.stop]
            n = layer.inputs.shape[1]
            if layer.kind == "product":
                part = own[:, None].expand(-1, n, -1, -1)
            else:
                number -= 1
                shares.append(own / up.totals[number].clamp_min(torch.finfo(own.dtype).tiny))
                back = (shares[-1] @ self.weights[number].mT).mul_(up.weights[number])
                part = back.reshape(len(back), batch, n, width).transpose(1, 2)
            flow.index_add_(0, layer.inputs.flatten(), part.reshape(-1, batch, width))
        return Down(flow[1 : len(self.layout.variables) + 1], tuple(reversed(shares)))


def _joined(table: Tensor, inputs: Tensor) -> Tensor:
    """Nodes of all inputs (R, n) side by side, (R, B, n K); a view where the rows follow one another."""
    if inputs.shape[1] == 1:
        first, count = int(inputs[0, 0]), len(inputs)
        if torch.equal(inputs[:, 0], torch.arange(first, first + count, device=inputs.device)):
            return table[first : first + count]
        return table[inputs[:, 0]]
    return table[inputs].transpose(1, 2).flatten(2)


def assemble(graph: Graph, leaves: Leaves, gen: torch.Generator, *, even: float = 0.0) -> Circuit:
    """A circuit with random weights.

    Args:
        graph: its structure.
        leaves: laws over `Layout.of(graph).variables`.
        gen: draws the weights, uniform on the simplex.
        even: share of equal weights blended in.
    """
    layout = Layout.of(graph)
    if not torch.equal(leaves.variables.cpu(), layout.variables):
        raise ConfigError("the leaves do not stand over the variables of the graph's leaf regions, in order.")
    return Circuit(layout, _weights(layout, gen, even), leaves)


def _weights(layout: Layout, gen: torch.Generator, even: float) -> tuple[Tensor, ...]:
    out = []
    for layer in layout.sums:
        inputs = layer.inputs.shape[1] * layout.width
        nodes = 1 if layer is layout.layers[-1] else layout.width
        drawn = simplex((layer.stop - layer.start, nodes, inputs), gen)
        out.append(((1 - even) * drawn + even / inputs).mT.contiguous())
    return tuple(out)
