"""Exact questions to a circuit: each costs one pass up, and one down where every variable is asked for.

    log_prob      log p(x), or of the known variables alone: the others are summed out exactly
    conditional   log p(asked given known)
    posterior     p(x_i given soft evidence) of every variable, and the log evidence
    draw          samples, from the circuit or from its posterior given evidence

Soft evidence multiplies each variable by an independent likelihood; `diffused` makes it of a noisy state.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.circuit.layers import Circuit, Layer, Up
from core.circuit.leaves import Beliefs, Categorical, Evidence, Likelihood, Reading
from core.errors import ConfigError
from core.state import Source, per_sample, uniform

__all__ = ["Posteriors", "conditional", "diffused", "draw", "log_prob", "posterior"]


class Posteriors(NamedTuple):
    """Posterior of each variable, and the log of the expected likelihood of the evidence, (B,)."""

    beliefs: Beliefs
    log_evidence: Tensor


def log_prob(circuit: Circuit, x: Tensor, known: Tensor | None = None) -> Tensor:
    """Log density, (B,), of the values x (B, V), or of those `known` (V,) or (B, V), in nats."""
    return circuit.up(circuit.leaves.observed(x, known)).log_prob


def conditional(circuit: Circuit, x: Tensor, asked: Tensor, known: Tensor) -> Tensor:
    """log p(x_asked given x_known), (B,); both are boolean, (V,) or (B, V).

    Raises:
        ConfigError: a variable is asked for and known at once.
    """
    if bool((asked & known).any()):
        raise ConfigError("a variable cannot be asked for and known at once.")
    return log_prob(circuit, x, asked | known) - log_prob(circuit, x, known)


def posterior(circuit: Circuit, evidence: Evidence) -> Posteriors:
    """The law of every variable given soft evidence, by one pass up and one down.

    Source: Liu et al. 2023, arXiv:2401.03349, on soft evidence.
    """
    up = circuit.up(evidence)
    flow = circuit.down(up).leaves
    return Posteriors(circuit.leaves.beliefs(up.leaves, flow), up.log_prob)


def diffused(
    circuit: Circuit,
    x: Tensor,
    alpha: Any,
    sigma: Any,
    *,
    codebook: Tensor | None = None,
    known: Evidence | None = None,
    where: Tensor | None = None,
) -> Evidence:
    """The evidence of a noisy state, N(x_i; alpha x0_i, sigma^2), times that of the values that are known.

    Args:
        x: noisy state, (B, V), or (B, V, F) for codes of F numbers.
        alpha, sigma: of the Gaussian process at this time; floats or (B,).
        codebook: (C,) or (C, F): the clean value that each category of a categorical circuit stands for.
        known: evidence that takes the place of the noisy state where `where` says so, such as
            `circuit.leaves.observed(values)`; B or 1 samples.
        where: boolean, (V,), (1, V) or (B, V).
    """
    alpha, sigma = (per_sample(v.to(x.dtype), x) if isinstance(v, Tensor) else v for v in (alpha, sigma))
    if isinstance(circuit.leaves, Categorical):
        if codebook is None:
            raise ConfigError("categorical leaves need a codebook: the value of each category.")
        log = _log_likelihood(x, alpha, sigma, codebook.to(x))
        if isinstance(known, Likelihood) and where is not None:
            log = torch.where(where[..., None], known.log.to(log), log)
        return Likelihood(log)
    value = x / alpha
    var = torch.as_tensor((sigma / alpha) ** 2, dtype=x.dtype, device=x.device).expand(x.shape)
    if isinstance(known, Reading) and where is not None:
        value, var = (torch.where(where, a.to(x), b) for a, b in zip(known, (value, var), strict=True))
    return Reading(value, var)


def _log_likelihood(x: Tensor, alpha: Any, sigma: Any, codebook: Tensor) -> Tensor:
    """-|x - alpha code|^2 / (2 sigma^2) without the part that is the same for all codes, (B, V, C)."""
    weight, square = alpha / sigma**2, (alpha / sigma) ** 2 / 2
    if isinstance(weight, Tensor):
        weight, square = (v.reshape(-1, 1, 1) for v in (weight, square))
    if codebook.ndim == 1:
        return x[..., None] * (weight * codebook) - square * codebook.square()
    return weight * (x @ codebook.T) - square * codebook.square().sum(1)


def draw(circuit: Circuit, evidence: Evidence | int, gen: Source) -> Tensor:
    """Samples, (B, V), top down: each sum picks one node of its inputs by its posterior weight.

    Args:
        evidence: draw from the posterior; a number draws so many samples from the circuit itself.
        gen: source of the choices.
    """
    found = circuit.leaves.nothing(evidence) if isinstance(evidence, int) else evidence
    up = circuit.up(found)
    batch = up.log_prob.shape[0]
    device = up.log_prob.device
    chosen = torch.full((circuit.layout.rows, batch), -1, dtype=torch.long, device=device)
    samples = torch.arange(batch, device=device)
    number = len(circuit.weights)
    for layer in reversed(circuit.layout.layers):
        top = layer.start == circuit.layout.rows
        node = torch.zeros_like(chosen[:1]) if top else chosen[layer.start : layer.stop]
        if layer.kind == "product":
            picks = [
                (layer.inputs[:, i, None].expand(node.shape), node) for i in range(layer.inputs.shape[1])
            ]
        else:
            number -= 1
            picks = [_picked(circuit, layer, up, number, node, gen)]
        for row, state in picks:
            live = state >= 0
            chosen[row[live], samples.expand(row.shape)[live]] = state[live]
    node = chosen[1 : len(circuit.layout.variables) + 1]
    values = circuit.leaves.draw(up.leaves, node.clamp_min(0), gen)
    out = values.new_zeros(batch, circuit.variables)
    live = node >= 0
    variables = circuit.layout.variables[:, None].expand(node.shape)
    out[samples.expand(node.shape)[live], variables[live]] = values[live]
    return out


def _picked(
    circuit: Circuit, layer: Layer, up: Up, number: int, node: Tensor, gen: Source
) -> tuple[Tensor, Tensor]:
    """Row and node, (R, B), that each sum node (R, B) picks among its inputs; -1 where it takes no part."""
    regions = torch.arange(len(node), device=node.device)[:, None]
    law = up.weights[number] * circuit.weights[number].mT[regions, node.clamp_min(0)]
    u = uniform(node.shape[::-1], gen, dtype=law.dtype, device=law.device).T
    steps = law.cumsum(2)
    pick = (steps < u[..., None] * steps[..., -1:]).sum(2).clamp_max(law.shape[2] - 1)
    width = circuit.layout.width
    row = layer.inputs[regions, pick // width]
    return row, torch.where(node >= 0, pick % width, node)
