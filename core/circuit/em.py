"""Expectation-maximisation for circuits: exact, and in small batches.

The expected count of a weight W between input k and node j of a sum is the posterior probability of that
edge, W * e^(x - m)_k * (flow / total)_j, summed over the data; the new weights are the counts, normalised.
Leaves count likewise. Each full sweep cannot lower the likelihood.

Small batches keep running averages S of the counts per sample, S <- (1 - r_n) S + r_n (counts of batch n),
with r_n = (n + 1)^-decay, and maximise on S.

Sources: Peharz et al. 2017, arXiv:1601.06180, section 5 (EM from derivatives); Peharz et al. 2020,
arXiv:2004.06231, section 3.5; Cappe & Moulines 2009, arXiv:0712.4273, eqs. 5 and 6 (running averages).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from core.circuit.layers import Circuit
from core.circuit.leaves import Evidence
from core.errors import ConfigError

__all__ = ["Statistics", "Sweep", "batch_em", "em", "expected", "maximised"]

SMALLEST = 1e-30  # of a weight: positive in float32, and a factor 1e-30 never shows


class Statistics(NamedTuple):
    """Expected counts of the weights and of the leaves, the summed log density, and the number of samples."""

    sums: tuple[Tensor, ...]
    leaves: Tensor
    log_prob: Tensor
    samples: float


class Sweep(NamedTuple):
    """A circuit after an update, and the mean log density, in nats, of the data that made it, before it."""

    circuit: Circuit
    log_prob: float


def expected(circuit: Circuit, evidence: Evidence) -> Statistics:
    """Expected counts of a batch; soft or missing evidence counts by its posterior."""
    up = circuit.up(evidence)
    down = circuit.down(up)
    parts = zip(circuit.weights, up.weights, down.shares, strict=True)
    sums = tuple(weight * (e.mT @ share) for weight, e, share in parts)
    leaves = circuit.leaves.statistics(up.leaves, down.leaves)
    return Statistics(sums, leaves, up.log_prob.sum(), float(up.log_prob.shape[0]))


def maximised(circuit: Circuit, found: Statistics, *, pseudo: float = 0.0) -> Circuit:
    """The circuit whose weights and leaves the counts ask for.

    Args:
        pseudo: counts added to each node, shared evenly by its edges.
    """
    weights = []
    for old, counts in zip(circuit.weights, found.sums, strict=True):
        total = counts.sum(1, keepdim=True)
        smooth = counts + pseudo / counts.shape[1]
        new = torch.where(total > 0, smooth / smooth.sum(1, keepdim=True).clamp_min(SMALLEST), old)
        weights.append(new.clamp_min(SMALLEST))
    return Circuit(circuit.layout, tuple(weights), circuit.leaves.fitted(found.leaves, pseudo))


def em(
    circuit: Circuit,
    x: Tensor,
    sweeps: int,
    *,
    known: Tensor | None = None,
    pseudo: float = 0.0,
    batch: int = 4096,
) -> Iterator[Sweep]:
    """Sweep over all data, again and again; without pseudo-counts the log density never falls.

    Args:
        x: data, (n, V).
        known: which values are there, (V,) or (n, V); all by default.
        pseudo: counts added to each node.
        batch: samples held in memory at once; it does not change the result.

    Yields:
        After each sweep, the new circuit and the mean log density under the one before.
    """
    if sweeps < 1 or len(x) == 0:
        raise ConfigError(f"EM needs data and at least one sweep, got {len(x)} samples, {sweeps} sweeps.")
    for _ in range(sweeps):
        total: Statistics | None = None
        for start in range(0, len(x), batch):
            part = known[start : start + batch] if known is not None and known.ndim == 2 else known
            found = expected(circuit, circuit.leaves.observed(x[start : start + batch], part))
            total = found if total is None else _blend(total, found, 1.0, 1.0)
        assert total is not None
        circuit = maximised(circuit, total, pseudo=pseudo)
        yield Sweep(circuit, float(total.log_prob) / total.samples)


def batch_em(
    circuit: Circuit,
    x: Tensor,
    steps: int,
    *,
    batch: int,
    gen: torch.Generator,
    decay: float = 0.7,
    pseudo: float = 0.0,
) -> Iterator[Sweep]:
    """Update after every batch, from running averages of the counts.

    Args:
        x: data, (n, V); each step draws `batch` of them.
        gen: draws the batches.
        decay: exponent of the rate, in (0.5, 1]; a larger one forgets more slowly.
        pseudo: counts added to each node, as if the averages were over the whole data.

    Yields:
        After each step, the new circuit and the mean log density of the batch under the one before.
    """
    if not 0.5 < decay <= 1:
        raise ConfigError(f"the decay of the rate must lie in (0.5, 1], got {decay}.")
    running: Statistics | None = None
    for step in range(steps):
        where = torch.randint(len(x), (batch,), generator=gen)
        found = expected(circuit, circuit.leaves.observed(x[where]))
        mean = float(found.log_prob) / batch
        rate = (step + 1) ** -decay
        scaled = _blend(found, found, len(x) / batch, 0.0)
        running = scaled if running is None else _blend(running, scaled, 1 - rate, rate)
        circuit = maximised(circuit, running, pseudo=pseudo)
        yield Sweep(circuit, mean)


def _blend(a: Statistics, b: Statistics, p: float, q: float) -> Statistics:
    return Statistics(
        tuple(p * one + q * two for one, two in zip(a.sums, b.sums, strict=True)),
        p * a.leaves + q * b.leaves,
        p * a.log_prob + q * b.log_prob,
        p * a.samples + q * b.samples,
    )
