"""Small circuits, and all states of their variables: what exact answers are added up from."""

import torch
from torch import Tensor

from core.circuit import (
    Categorical,
    Circuit,
    Gaussian,
    Graph,
    Layout,
    assemble,
    hidden_tree,
    mixture,
    random_tree,
    region_graph,
)

F64 = torch.float64
STRUCTURES = ("mixture", "regions", "hidden")


def graph_of(kind: str, variables: int, seed: int = 0, width: int = 3) -> Graph:
    """A random structure of one of the three kinds."""
    gen = torch.Generator().manual_seed(seed)
    if kind == "mixture":
        return mixture(variables, width)
    if kind == "regions":
        return region_graph([random_tree(variables, gen) for _ in range(2)], width)
    parents = [-1] + [int(torch.randint(v, (), generator=gen)) for v in range(1, variables)]
    return hidden_tree(parents, width)


def ternary(kind: str, variables: int, seed: int = 0, width: int = 3) -> Circuit:
    """A random circuit over variables with three values."""
    gen = torch.Generator().manual_seed(seed)
    graph = graph_of(kind, variables, seed, width)
    data = torch.randint(3, (20, variables), generator=gen)
    where = Layout.of(graph).variables
    return assemble(graph, Categorical.around(where, width, data, 3, gen, own=0.9), gen)


def normal(kind: str, variables: int, seed: int = 0, width: int = 3) -> Circuit:
    """A random circuit with Gaussian leaves."""
    gen = torch.Generator().manual_seed(seed)
    graph = graph_of(kind, variables, seed, width)
    data = torch.randn(50, variables, generator=gen, dtype=F64)
    where = Layout.of(graph).variables
    return assemble(graph, Gaussian.around(where, width, data, gen, own=1.5), gen)


def states(variables: int, values: int = 3) -> Tensor:
    """All states, (values^V, V)."""
    return torch.cartesian_prod(*[torch.arange(values)] * variables)


def one_hot(x: Tensor, values: int = 3) -> Tensor:
    return torch.nn.functional.one_hot(x, values).to(F64)
