"""Leaves of circuits: univariate laws, what soft evidence does to them, and their part of EM.

Evidence is an independent likelihood l_i(x_i) of each variable. Two forms, one per family:

    Likelihood   log l_i(c) for every category c: 0 everywhere says nothing, -inf rules a category out
    Reading      value_i ~ N(x_i, var_i): var 0 is the value itself, var inf says nothing

For leaf l with node k over variable i, a family answers

    z[l, k] = integral of p_lk(x_i) l_i(x_i),           the value that enters the circuit, and
    p(x_i given node k, evidence) = p_lk(x_i) l_i(x_i) / z[l, k].

Shapes: V variables, L leaf regions (several may stand over one variable), K nodes a region, C categories.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.state import Source, randn, uniform

__all__ = ["Beliefs", "Categorical", "Evidence", "Gaussian", "Leaves", "Likelihood", "Met", "Reading"]


class Likelihood(NamedTuple):
    """log l_i(c), (B, V, C); evidence on categorical variables."""

    log: Tensor


class Reading(NamedTuple):
    """A noisy value of each variable, (B, V), and the variance of its noise, (B, V), in [0, inf]."""

    value: Tensor
    var: Tensor


class Met(NamedTuple):
    """Leaves that have met evidence: log z, (L, B, K), and what their posteriors are made of.

    Categorical laws keep e^(log l - max), (L, B, C), and its product with the probabilities, (L, B, K);
    Gaussian ones the mean and variance of each node's variable, (L, B, K).
    """

    log: Tensor
    first: Tensor
    second: Tensor


class Beliefs(NamedTuple):
    """What is known of each variable: probabilities (B, V, C), or mean and variance (B, V)."""

    probs: Tensor | None = None
    mean: Tensor | None = None
    var: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Categorical:
    """Laws on 0 .. C - 1.

    Args:
        variables: variable of each leaf region, (L,).
        probs: (L, K, C), rows sum to one.
    """

    variables: Tensor
    probs: Tensor

    @classmethod
    def around(
        cls, variables: Tensor, width: int, x: Tensor, categories: int, gen: torch.Generator, *, own: float
    ) -> "Categorical":
        """Marginals of the data x (n, V), blended with a share `own` of random laws, uniform on the
        simplex.
        """
        hot = torch.nn.functional.one_hot(x.long(), categories).to(torch.float64)
        shared = (hot.sum(0) + 1) / (len(x) + categories)
        drawn = simplex((len(variables), width, categories), gen)
        return cls(variables, (1 - own) * shared[variables][:, None] + own * drawn)

    def observed(self, x: Tensor, known: Tensor | None = None) -> Likelihood:
        """Evidence that x (B, V) holds the value of each variable, or only of those `known` (V,) or
        (B, V).

        Raises:
            DataError: a known value lies outside 0 .. C - 1.
        """
        count = self.probs.shape[2]
        where = torch.ones_like(x, dtype=torch.bool) if known is None else known.expand(x.shape)
        value = torch.where(where, x, torch.zeros_like(x)).long()
        if bool(((value < 0) | (value >= count)).any()):
            low, high = int(value.min()), int(value.max())
            raise DataError(f"expected categories 0 to {count - 1}, got {low} to {high}.")
        hot = torch.nn.functional.one_hot(value, count).to(self.probs.dtype).log()
        return Likelihood(torch.where(where[..., None], hot, torch.zeros_like(hot)))

    def nothing(self, n: int) -> Likelihood:
        """No evidence for n samples."""
        variables, categories = int(self.variables.max()) + 1, self.probs.shape[2]
        return Likelihood(self.probs.new_zeros(n, variables, categories))

    def meet(self, evidence: Likelihood) -> Met:
        """Multiply the laws by the evidence and integrate."""
        log = evidence.log.transpose(0, 1)[self.variables]
        top = log.amax(2, keepdim=True).clamp_min(torch.finfo(log.dtype).min)
        weight = (log - top).exp_()
        total = weight @ self.probs.mT
        return Met(total.log().add_(top), weight, total)

    def beliefs(self, met: Met, flow: Tensor) -> Beliefs:
        """Posterior of every variable from the flows (L, B, K) of a downward pass."""
        each = met.first * (_ratio(flow, met.second) @ self.probs)
        out = each.new_zeros(int(self.variables.max()) + 1, *each.shape[1:])
        return Beliefs(probs=out.index_add_(0, self.variables, each).transpose(0, 1))

    def draw(self, met: Met, node: Tensor, gen: Source) -> Tensor:
        """Values, (L, B), of nodes (L, B), each from its law given the evidence."""
        law = met.first * self.probs[torch.arange(len(node), device=node.device)[:, None], node]
        u = uniform(node.shape[::-1], gen, dtype=law.dtype, device=law.device).T
        steps = law.cumsum(2)
        return (steps < u[..., None] * steps[..., -1:]).sum(2).clamp_max(law.shape[2] - 1)

    def statistics(self, met: Met, flow: Tensor) -> Tensor:
        """Expected counts, (L, K, C), summed over the batch."""
        return self.probs * (_ratio(flow, met.second).mT @ met.first)

    def fitted(self, counts: Tensor, pseudo: float) -> "Categorical":
        """The laws that expected counts ask for; nodes that nothing reached stay as they are."""
        total = counts.sum(2, keepdim=True)
        smooth = counts + pseudo / counts.shape[2]
        probs = torch.where(total > 0, smooth / smooth.sum(2, keepdim=True), self.probs)
        return Categorical(self.variables, probs)

    def to(self, where: torch.dtype | torch.device) -> "Categorical":
        """The same laws in another precision or on another device."""
        return Categorical(_moved(self.variables, where), self.probs.to(where))

    @property
    def parameters(self) -> int:
        """Free numbers."""
        return self.probs[..., 1:].numel()


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Normal laws.

    Args:
        variables: variable of each leaf region, (L,).
        mean, std: (L, K); std > 0.
        floor: smallest std that EM may reach.
    """

    variables: Tensor
    mean: Tensor
    std: Tensor
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not bool((self.std > 0).all()):
            raise ConfigError("Gaussian leaves need std > 0.", hint="Give a known value as evidence instead.")

    @classmethod
    def around(
        cls, variables: Tensor, width: int, x: Tensor, gen: torch.Generator, *, own: float
    ) -> "Gaussian":
        """Laws of the data's mean and std, their means spread by a share `own` of that std; x is (n, V)."""
        mean, std = x.double().mean(0)[variables], x.double().std(0).clamp_min(1e-2)[variables]
        z = torch.randn(len(variables), width, generator=gen, dtype=torch.float64)
        return cls(variables, mean[:, None] + own * std[:, None] * z, std[:, None].expand(z.shape).clone())

    def observed(self, x: Tensor, known: Tensor | None = None) -> Reading:
        """Evidence that x (B, V) holds each variable's value, or only those `known`, (V,) or (B, V)."""
        var = torch.zeros_like(x)
        return Reading(x, var if known is None else var.masked_fill(~known.expand(x.shape), math.inf))

    def nothing(self, n: int) -> Reading:
        """No evidence for n samples."""
        value = self.mean.new_zeros(n, int(self.variables.max()) + 1)
        return Reading(value, torch.full_like(value, math.inf))

    def meet(self, evidence: Reading) -> Met:
        """Multiply the laws by the evidence and integrate: N(value; mean, std^2 + var), 1 where nothing is
        known.
        """
        value, var = (e.T[self.variables][..., None] for e in evidence)
        off = torch.where(var.isinf(), torch.zeros_like(value), value) - self.mean[:, None]
        own = self.std[:, None].square()
        total = own + var
        log = -(off.square() / total + total.log() + math.log(2 * math.pi)) / 2
        gain = own / total
        log = torch.where(total.isinf(), torch.zeros_like(log), log)
        return Met(log, self.mean[:, None] + gain * off, own * (1 - gain))

    def beliefs(self, met: Met, flow: Tensor) -> Beliefs:
        """Mean and variance of every variable from the flows (L, B, K) of a downward pass."""

        def gathered(each: Tensor) -> Tensor:
            out = each.new_zeros(int(self.variables.max()) + 1, each.shape[1])
            return out.index_add_(0, self.variables, each.sum(2))

        centre = gathered(flow * met.first)
        off = met.first - centre[self.variables][..., None]
        return Beliefs(mean=centre.T, var=gathered(flow * (met.second + off.square())).T)

    def draw(self, met: Met, node: Tensor, gen: Source) -> Tensor:
        """Values, (L, B), of nodes (L, B), each from its law given the evidence."""
        mean, var = (m.gather(2, node[..., None])[..., 0] for m in (met.first, met.second))
        return mean + var.sqrt() * randn(mean.T, gen).T

    def statistics(self, met: Met, flow: Tensor) -> Tensor:
        """Expected counts, sums and sums of squares, (3, L, K), over the batch."""
        mean, second = met.first, met.second + met.first.square()
        return torch.stack([flow.sum(1), (flow * mean).sum(1), (flow * second).sum(1)])

    def fitted(self, sums: Tensor, pseudo: float) -> "Gaussian":
        """The laws that the sums ask for; `pseudo` samples keep each law where it was."""
        count = sums[0] + pseudo
        mean = (sums[1] + pseudo * self.mean) / count
        second = (sums[2] + pseudo * (self.mean.square() + self.std.square())) / count
        std = (second - mean.square()).clamp_min(self.floor**2).sqrt()
        reached = count > 0
        return Gaussian(
            self.variables,
            torch.where(reached, mean, self.mean),
            torch.where(reached, std, self.std),
            self.floor,
        )

    def to(self, where: torch.dtype | torch.device) -> "Gaussian":
        """The same laws in another precision or on another device."""
        return Gaussian(_moved(self.variables, where), self.mean.to(where), self.std.to(where), self.floor)

    @property
    def parameters(self) -> int:
        """Free numbers."""
        return 2 * self.mean.numel()


Leaves: TypeAlias = Categorical | Gaussian
Evidence: TypeAlias = Likelihood | Reading


def _moved(index: Tensor, where: torch.dtype | torch.device) -> Tensor:
    return index if isinstance(where, torch.dtype) else index.to(where)


def _ratio(flow: Tensor, value: Tensor) -> Tensor:
    """flow / value; nothing flows through nodes that the evidence rules out, so 0 / 0 is 0."""
    return flow / value.clamp_min(torch.finfo(value.dtype).tiny)


def simplex(shape: tuple[int, ...], gen: torch.Generator) -> Tensor:
    """Laws uniform on the simplex along the last axis."""
    drawn = -torch.rand(shape, generator=gen, dtype=torch.float64).clamp_min(1e-12).log()
    return drawn / drawn.sum(-1, keepdim=True)
