"""Structures of probabilistic circuits: region graphs that are smooth and decomposable by construction.

A circuit computes a density from bottom to top. Its nodes come in regions of `width` nodes over one set of
variables, the scope:

    leaf      width univariate laws of one variable
    product   node k multiplies node k of every input; the scopes of the inputs are disjoint (decomposable)
    sum       every node mixes all nodes of all inputs; the inputs share one scope (smooth)

All regions have the same width except the root, a sum with one node over all variables. Smoothness and
decomposability are what makes every marginal and posterior of independent likelihoods one pass up and one
down. `Blueprint` refuses to draw anything else.

    mixture        one product of all variables per component; width 1 is the fully factorised model
    region_graph   recursive halving of the variables along one or several trees (RAT-SPN)
    hidden_tree    a tree of hidden variables, one above each variable (hidden Chow-Liu tree)

Sources: Choi, Vergari & Van den Broeck 2020, Probabilistic circuits (smooth, decomposable); Peharz et al.
2019, arXiv:1806.01910 (region graphs); Liu & Van den Broeck 2021, arXiv:2106.02264, section 4.1 (hidden
Chow-Liu trees); Chow & Liu 1968, IEEE TIT 14(3).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from core.errors import ConfigError

__all__ = [
    "Blueprint",
    "Graph",
    "Region",
    "Tree",
    "chow_liu",
    "halving_tree",
    "hidden_tree",
    "mixture",
    "random_tree",
    "region_graph",
]

Tree: TypeAlias = "int | tuple[Tree, ...]"


@dataclass(frozen=True)
class Region:
    """Nodes over one scope. `inputs` are numbers of earlier regions; a leaf has none."""

    kind: Literal["leaf", "product", "sum"]
    scope: frozenset[int]
    width: int
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Regions in an order in which inputs come first; the last one is the root. `Blueprint` makes one."""

    regions: tuple[Region, ...]

    def __post_init__(self) -> None:
        for number, region in enumerate(self.regions):
            _check(number, region, self.regions)
        root = self.regions[-1]
        if root.kind != "sum" or root.width != 1:
            raise ConfigError(f"the root must be a sum of width 1, got a {root.kind} of width {root.width}.")
        if root.scope != frozenset(range(len(root.scope))):
            raise ConfigError(f"variables are numbered from 0 without gaps, got {sorted(root.scope)}.")
        if len({region.width for region in self.regions[:-1]}) != 1:
            raise ConfigError("all regions below the root must have one width.")

    @property
    def variables(self) -> int:
        """Number of variables."""
        return len(self.regions[-1].scope)

    @property
    def width(self) -> int:
        """Nodes per region below the root."""
        return self.regions[0].width


def _check(number: int, region: Region, regions: Sequence[Region]) -> None:
    if any(i >= number for i in region.inputs):
        raise ConfigError(f"region {number} reads a region that does not come before it.")
    inputs = [regions[i] for i in region.inputs]
    scopes = [part.scope for part in inputs]
    match region.kind:
        case "leaf":
            if inputs or len(region.scope) != 1:
                raise ConfigError(f"a leaf has one variable and no inputs, got {sorted(region.scope)}.")
            return
        case "product":
            union: frozenset[int] = frozenset().union(*scopes)
            if len(union) != sum(map(len, scopes)):
                raise ConfigError(
                    f"the inputs of product {number} share variables: it is not decomposable.",
                    hint="Multiply regions of disjoint scopes.",
                )
            if any(part.width != region.width for part in inputs):
                raise ConfigError(f"the inputs of product {number} differ from it in width.")
        case _:
            union = scopes[0] if scopes else frozenset()
            if any(scope != union for scope in scopes):
                raise ConfigError(
                    f"the inputs of sum {number} differ in scope: it is not smooth.",
                    hint="Mix regions over the same variables.",
                )
    if not inputs or region.scope != union:
        raise ConfigError(f"region {number} does not cover what its inputs cover.")


@dataclass
class Blueprint:
    """Draws a graph region by region; each call returns the number of the new region."""

    width: int
    regions: list[Region] = field(default_factory=list)

    def leaf(self, variable: int) -> int:
        """Univariate laws of one variable."""
        return self._add(Region("leaf", frozenset([variable]), self.width))

    def product(self, *inputs: int) -> int:
        """Products of regions with disjoint scopes, node by node; a single input is handed back."""
        if len(inputs) == 1:
            return inputs[0]
        scope: frozenset[int] = frozenset().union(*(self.regions[i].scope for i in inputs))
        return self._add(Region("product", scope, self.width, inputs))

    def sum(self, *inputs: int, root: bool = False) -> int:
        """Mixtures of all nodes of regions over one scope; `root` makes the single node at the top."""
        scope = self.regions[inputs[0]].scope
        return self._add(Region("sum", scope, 1 if root else self.width, inputs))

    def graph(self) -> Graph:
        """What was drawn."""
        return Graph(tuple(self.regions))

    def _add(self, region: Region) -> int:
        _check(len(self.regions), region, self.regions)
        self.regions.append(region)
        return len(self.regions) - 1


def mixture(variables: int, width: int) -> Graph:
    """A mixture of `width` fully factorised components."""
    draw = Blueprint(width)
    draw.sum(draw.product(*(draw.leaf(v) for v in range(variables))), root=True)
    return draw.graph()


def region_graph(trees: Sequence[Tree], width: int) -> Graph:
    """Regions along nested tuples of variables, such as ((0, 1), (2, 3)): one sum above each product.

    Args:
        trees: one tree per partitioning; each has leaves and inner regions of its own, the root mixes them.
        width: nodes per region.
    """
    draw = Blueprint(width)

    def grow(tree: Tree) -> int:
        if isinstance(tree, int):
            return draw.leaf(tree)
        return draw.product(*(grow(part) if isinstance(part, int) else draw.sum(grow(part)) for part in tree))

    draw.sum(*[grow(tree) for tree in trees], root=True)
    return draw.graph()


def random_tree(variables: int, gen: torch.Generator) -> Tree:
    """Random halving of the variables, down to single ones."""
    return _halved(torch.randperm(variables, generator=gen).tolist())


def _halved(order: list[int]) -> Tree:
    if len(order) == 1:
        return order[0]
    half = len(order) // 2
    return (_halved(order[:half]), _halved(order[half:]))


def halving_tree(height: int, width: int) -> Tree:
    """Halve an image (variables in row-major order) across its longer side, down to single pixels."""

    def cut(top: int, left: int, h: int, w: int) -> Tree:
        if h * w == 1:
            return top * width + left
        if h >= w:
            return (cut(top, left, h // 2, w), cut(top + h // 2, left, h - h // 2, w))
        return (cut(top, left, h, w // 2), cut(top, left + w // 2, h, w - w // 2))

    return cut(0, 0, height, width)


def chow_liu(x: Tensor, categories: int, *, smoothing: float = 0.1) -> list[int]:
    """The tree that keeps the most mutual information: the parent of each variable, -1 for the root.

    Args:
        x: data, (n, V), integers in 0 .. categories - 1.
        smoothing: pseudo-count of each pair of values.

    Returns:
        Parents, (V,); the root is the centre of the tree, so that the circuit is shallow.

    Source: Chow & Liu 1968, IEEE TIT 14(3), section III.
    """
    hot = torch.nn.functional.one_hot(x.long(), categories).to(torch.float64).flatten(1)
    v = x.shape[1]
    joint = (hot.T @ hot).reshape(v, categories, v, categories).transpose(1, 2) + smoothing
    joint = joint / joint.sum((2, 3), keepdim=True)
    row, col = joint.sum(3, keepdim=True), joint.sum(2, keepdim=True)
    information = (joint * (joint / (row * col)).log()).sum((2, 3))
    edges: list[list[int]] = [[] for _ in range(v)]
    best, parent = information[0].clone(), torch.zeros(v, dtype=torch.long)
    inside = {0}
    best[0] = -torch.inf
    for _ in range(v - 1):  # Prim's rule: join the outside variable that shares the most with the tree
        new = int(best.argmax())
        edges[new].append(int(parent[new]))
        edges[int(parent[new])].append(new)
        inside.add(new)
        closer = information[new] > best
        parent[closer] = new
        best = torch.maximum(best, information[new])
        best[list(inside)] = -torch.inf
    return _rooted(edges)


def _rooted(edges: list[list[int]]) -> list[int]:
    """Parents when the middle of a longest path is the root."""

    def walk(start: int) -> tuple[list[int], list[int]]:
        parents, order = [-1] * len(edges), [start]
        for node in order:
            for other in edges[node]:
                if other != parents[node]:
                    parents[other] = node
                    order.append(other)
        return parents, order

    parents, order = walk(walk(0)[1][-1])
    path = [order[-1]]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return walk(path[len(path) // 2])[0]


def hidden_tree(parents: Sequence[int], width: int) -> Graph:
    """A tree of hidden variables of `width` states, one above each variable.

    Args:
        parents: parent of each variable, -1 for the root; `chow_liu` finds one from data.
    """
    if list(parents).count(-1) != 1:
        raise ConfigError(f"a tree has one root (parent -1), got {list(parents).count(-1)}.")
    children: dict[int, list[int]] = {v: [] for v in range(-1, len(parents))}
    for v, parent in enumerate(parents):
        children[parent].append(v)
    order = [children[-1][0]]
    for v in order:
        order += children[v]
    draw = Blueprint(width)
    above: dict[int, int] = {}
    for v in reversed(order):
        above[v] = draw.product(draw.leaf(v), *(draw.sum(above[c]) for c in children[v]))
    draw.sum(above[order[0]], root=True)
    return draw.graph()
