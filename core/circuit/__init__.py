"""Probabilistic circuits: densities whose marginals and posteriors are exact, by one pass up and one down."""

from core.circuit.em import Statistics, Sweep, batch_em, em, expected, maximised
from core.circuit.layers import Circuit, Layout, assemble
from core.circuit.leaves import Beliefs, Categorical, Evidence, Gaussian, Likelihood, Reading
from core.circuit.queries import Posteriors, conditional, diffused, draw, log_prob, posterior
from core.circuit.structure import (
    Blueprint,
    Graph,
    Region,
    Tree,
    chow_liu,
    halving_tree,
    hidden_tree,
    mixture,
    random_tree,
    region_graph,
)

__all__ = [
    "Beliefs",
    "Blueprint",
    "Categorical",
    "Circuit",
    "Evidence",
    "Gaussian",
    "Graph",
    "Layout",
    "Likelihood",
    "Posteriors",
    "Reading",
    "Region",
    "Statistics",
    "Sweep",
    "Tree",
    "assemble",
    "batch_em",
    "chow_liu",
    "conditional",
    "diffused",
    "draw",
    "em",
    "expected",
    "halving_tree",
    "hidden_tree",
    "log_prob",
    "maximised",
    "mixture",
    "posterior",
    "random_tree",
    "region_graph",
]
