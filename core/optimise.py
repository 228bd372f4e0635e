"""Black-box optimisation as conditional sampling: ask a diffusion model for states of a given reward.

    1. fit      a reward model on the few states whose reward was measured         `fit_reward`
    2. label    the many states without one by the model, with a little noise      `pseudo_labelled`
    3. train    a denoiser with the label as its condition                         `core.train.fit`
    4. sample   with the target reward as the condition, and look what it costs    `frontier`

A target inside the data is reached by states like the data; beyond them the reward goes on rising only while
the states stay where the reward model was right, so the distance from the data is reported beside it.

Data near a subspace x = V z need only a denoiser of z: for orthonormal V the coordinates V^T x_t are a noisy
z under the same process, and D(x, t) = V f(V^T x, t), that is the score (alpha V f(V^T x, t) - x) / sigma^2
(`Embedded`). V may be known or trained with f.

Sources: Yuan et al. 2023, arXiv:2307.07055, algorithm 1 (reward-directed conditional diffusion); Chen et al.
2023, arXiv:2302.07194, section 3 (the encoder-decoder score).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError, DataError
from core.outliers import neighbour_distance
from core.plan.table import Plan
from core.run import sample
from core.state import Euclidean, Source, randn

__all__ = ["Achieved", "Embedded", "LinearReward", "fit_reward", "frontier", "outside", "pseudo_labelled"]


@dataclass(frozen=True)
class LinearReward:
    """A reward that is linear in features of the state: offset + <weights, features(x)>.

    Attributes:
        noise: standard deviation of what the measured rewards leave unexplained.
    """

    weights: Tensor
    offset: float
    noise: float
    features: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Reward of each state, (B,)."""
        return self.features(x) @ self.weights.to(x.dtype) + self.offset


def fit_reward(
    x: Tensor, y: Tensor, *, ridge: float = 1e-3, features: Callable[[Tensor], Tensor] | None = None
) -> LinearReward:
    """Ridge regression of measured rewards.

    Args:
        x: states, (n, ...).
        y: measured rewards, (n,).
        ridge: penalty on the squared weights, relative to the mean square of the centred features.
        features: state -> (n, F); the flattened state by default.

    Raises:
        DataError: fewer than two states, or another number of rewards.
    """
    if len(x) < 2 or y.shape != (len(x),):
        raise DataError(f"expected at least 2 states and one reward each, got {len(x)} and {tuple(y.shape)}.")
    seen = _flat if features is None else features
    phi, y = seen(x).to(torch.float64), y.to(torch.float64)
    centre, level = phi.mean(0), y.mean()
    phi = phi - centre
    gram = phi.mT @ phi
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram, phi.mT @ (y - level))
    rest = y - level - phi @ weights
    return LinearReward(weights, float(level - centre @ weights), float(rest.std()), seen)


def pseudo_labelled(reward: Callable[[Tensor], Tensor], x: Tensor, gen: Source, *, noise: float) -> Tensor:
    """The reward model's label of every state, with noise so that neighbours share labels, (B, 1).

    Args:
        noise: standard deviation of the added noise, in the unit of the reward; it also sets how sharply a
            target is met.
    """
    label = reward(x)[:, None]
    return label + noise * randn(label, gen)


class Embedded(nn.Module):
    """A denoiser of states near a subspace, made from one of their coordinates: D(x, t) = V f(V^T x, t).

    Args:
        latent: denoiser of z (B, d) under a Gaussian process with the Euclidean space.
        basis: V, (n, d), of full rank; its columns are made orthonormal.
        trained: let `core.train.fit` move the basis as well.
    """

    def __init__(self, latent: Any, basis: Tensor, *, trained: bool = False) -> None:
        super().__init__()
        if basis.ndim != 2 or basis.shape[0] < basis.shape[1]:
            raise ConfigError(f"a basis needs shape (n, d) with n >= d, got {tuple(basis.shape)}.")
        if not isinstance(latent.process.space, Euclidean):
            raise ConfigError(
                f"coordinates live in the Euclidean space, got {type(latent.process.space).__name__}."
            )
        self.latent = latent
        self.process = latent.process
        self.raw = nn.Parameter(basis.clone(), requires_grad=trained)

    @property
    def data_std(self) -> float:
        """That of the coordinates."""
        return float(getattr(self.latent, "data_std", 1.0))

    def basis(self) -> Tensor:
        """V with orthonormal columns, (n, d)."""
        q, r = torch.linalg.qr(self.raw)
        return q * torch.sign(r.diagonal())

    def forward(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        """Posterior mean of x_0, (B, n), inside the subspace."""
        v = self.basis().to(x.dtype)
        return Posterior(mean=self.latent(x @ v, t, cond).mean @ v.mT)


@dataclass(frozen=True)
class Achieved:
    """What a target reward led to.

    Attributes:
        target: the reward asked for.
        mean, std: reward of the samples, under the reward that was given to `frontier`.
        standard_error: of the mean.
        distance: mean distance of a sample to its nearest state of the data.
        floor: the same for the data themselves.
        outside: share of the samples' energy outside the subspace; NaN when no basis was given.
    """

    target: float
    mean: float
    std: float
    standard_error: float
    distance: float
    floor: float
    outside: float


def frontier(
    denoiser: Denoiser,
    reward: Callable[[Tensor], Tensor],
    data: Tensor,
    targets: Sequence[float],
    plan: Plan,
    gen: Source,
    *,
    n: int = 1000,
    basis: Tensor | None = None,
) -> list[Achieved]:
    """Sample at every target and report the reward reached against the distance from the data.

    Args:
        denoiser: takes the target as its condition, (B, 1), in the unit of its training labels.
        reward: what counts, such as the true reward; (B, ...) -> (B,).
        data: training states, (m, ...); a few thousand suffice.
        n: samples per target.
        basis: orthonormal columns that span the data, (D, d).
    """
    flat = _flat(data)
    floor = float(neighbour_distance(flat, flat, k=1, own=True).mean())
    out = []
    for target in targets:
        like = data.new_empty(n, *data.shape[1:])
        start = denoiser.process.prior(like, gen, plan.start)
        x = sample(plan, denoiser, start, gen, data.new_full((n, 1), target))
        found = reward(x).to(torch.float64)
        std = float(found.std())
        out.append(
            Achieved(
                float(target),
                float(found.mean()),
                std,
                std / n**0.5,
                float(neighbour_distance(_flat(x), flat, k=1).mean()),
                floor,
                outside(_flat(x), basis) if basis is not None else float("nan"),
            )
        )
    return out


def outside(x: Tensor, basis: Tensor) -> float:
    """Share of the energy of states (B, D) outside the span of orthonormal columns (D, d), in [0, 1]."""
    inside = (x @ basis.detach().to(x.dtype)).square().sum()
    return max(0.0, 1 - float(inside / x.square().sum()))


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1)
