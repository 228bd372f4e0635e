"""Denoisers: the posterior of the clean state given the noisy one, D(x, t) = E[x_0 given x_t = x].

Training and sampling see only D. Networks that predict something else are converted once, here:

    predicts    network output                      D
    x0          D                                   as it is
    eps         (x - alpha D) / sigma               (x - sigma eps) / alpha
    v           alpha eps - sigma x_0               (alpha x - sigma v) / (alpha^2 + sigma^2)
    score       (alpha D - x) / sigma^2             (x + sigma^2 s) / alpha
    flow        d alpha/dt x_0 + d sigma/dt eps     (u - sigma'/sigma x) / (alpha' - alpha sigma'/sigma)
    edm         F                                   c_skip x + c_out F(c_in x, c_noise)

Sources: Karras et al. 2022, arXiv:2206.00364, eq. 7 and table 1; Salimans & Ho 2022, arXiv:2202.00512,
appendix D.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, get_args

import torch
from torch import Tensor, nn

from core.errors import ConfigError, unknown
from core.process.gaussian import Gaussian
from core.state import State, per_sample, tree_map

__all__ = [
    "Denoiser",
    "Posterior",
    "Predicts",
    "TokenPosterior",
    "Wrapped",
    "edm_coeffs",
    "noise_of",
    "score_of",
    "wrap",
]

Predicts: TypeAlias = Literal["x0", "eps", "v", "score", "flow", "edm"]


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known about the clean state: its mean (continuous states) or the law of each token (logits, (B,
    L, V)).
    """

    mean: Any = None
    logits: Any = None

    def at(self, where: Tensor) -> Tensor:
        """Logits of the tokens at these positions (B, L), row by row: (K, V)."""
        return self.logits[where]


class TokenPosterior(Posterior):
    """A posterior of tokens whose logits are computed where they are asked for.

    The head of a token network, width x vocabulary, costs more than its trunk; a step of a plan that reveals
    eight tokens, or a loss over the masked ones, asks for those rows alone.

    Args:
        rows: boolean positions (B, L) -> logits (K, V), row by row.
        shape: (B, L).
    """

    __slots__ = ("_logits", "rows", "shape")
    rows: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    _logits: Any

    def __init__(self, rows: Callable[[Tensor], Tensor], shape: Sequence[int]) -> None:
        object.__setattr__(self, "mean", None)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "shape", tuple(shape))
        object.__setattr__(self, "_logits", None)

    def at(self, where: Tensor) -> Tensor:
        return self.rows(where)

    @property
    def logits(self) -> Tensor:
        """All logits, (B, L, V)."""
        if self._logits is None:
            everywhere = torch.ones(self.shape, dtype=torch.bool)
            object.__setattr__(self, "_logits", self.rows(everywhere).unflatten(0, self.shape))
        return self._logits


class Denoiser(Protocol):
    """Anything that gives the posterior of the clean state. `t` is a float or (B,); `cond` is the model's own
    business.
    """

    @property
    def process(self) -> Any: ...

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior: ...


def score_of(process: Gaussian, x: State, x0: State, t: float) -> State:
    """Score of the noisy density: (alpha D - x) / sigma^2.

    Raises:
        ConfigError: the noise is not normal, so that this is no score.
    """
    if not isinstance(process, Gaussian):
        raise ConfigError(f"a score needs a Gaussian process, got {type(process).__name__}.")
    alpha, sigma = process.alpha(t), process.sigma(t)
    return tree_map(lambda a, d: (alpha * d - a) / sigma**2, x, x0)


def noise_of(process: Gaussian, x: State, x0: State, t: float) -> State:
    """Predicted noise: (x - alpha D) / sigma."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return tree_map(lambda a, d: (a - alpha * d) / sigma, x, x0)


class Wrapped(nn.Module):
    """A network as a denoiser. Build it with `wrap`.

    The network is called as `net(x, t, cond)` with t of shape (B,), or, for "edm", as `net(c_in x, c_noise,
    cond)` with c_noise = ln(sigma / alpha) / 4 of shape (B,). Its output is projected into the process's
    space.
    """

    def __init__(
        self, net: nn.Module | Callable[..., Any], process: Any, predicts: Predicts, data_std: float
    ) -> None:
        super().__init__()
        self.net = net
        self.process = process
        self.predicts = predicts
        self.data_std = data_std

    def forward(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        """Posterior mean of the clean state, shaped like x, (B, ...). Coefficients are float64 until they
        meet x.
        """
        if isinstance(t, Tensor):
            t = t.to(torch.float64).expand(x.shape[0])
        mean = self._edm(x, t, cond) if self.predicts == "edm" else self._convert(x, t, cond)
        return Posterior(mean=self.process.space.project(mean))

    def _edm(self, x: Tensor, t: Any, cond: Any) -> Tensor:
        c_in, c_noise, c_skip, c_out = edm_coeffs(self.process, t, self.data_std)
        f = self.net(_fit(c_in, x) * x, _clock(c_noise, x), cond).to(x.dtype)
        return _fit(c_skip, x) * x + _fit(c_out, x) * f

    def _convert(self, x: Tensor, t: Any, cond: Any) -> Tensor:
        out = self.net(x, _clock(t, x), cond).to(x.dtype)
        if self.predicts == "x0":
            return out
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        match self.predicts:
            case "eps":
                keep, pull = 1 / alpha, -sigma / alpha
            case "v":
                total = alpha**2 + sigma**2
                keep, pull = alpha / total, -sigma / total
            case "score":
                keep, pull = 1 / alpha, sigma**2 / alpha
            case _:
                slope, spread = self.process.rates(t)
                pull = sigma / (slope * sigma - alpha * spread)
                keep = -spread / (slope * sigma - alpha * spread)
        return _fit(keep, x) * x + _fit(pull, x) * out


def edm_coeffs(process: Gaussian, t: Any, data_std: float) -> tuple[Any, Any, Any, Any]:
    """c_in, c_noise, c_skip and c_out of Karras et al. 2022, table 1, for any Gaussian process through x /
    alpha.
    """
    alpha, sigma = process.alpha(t), process.sigma(t)
    ratio = sigma / alpha
    total = ratio**2 + data_std**2
    root = total**0.5
    log = torch.log(ratio) if isinstance(ratio, Tensor) else math.log(ratio)
    return 1 / (alpha * root), log / 4, data_std**2 / (alpha * total), ratio * data_std / root


def _fit(value: Any, x: Tensor) -> Any:
    return per_sample(value.to(x.dtype), x) if isinstance(value, Tensor) else value


def _clock(value: Any, x: Tensor) -> Tensor:
    return value.to(x.dtype) if isinstance(value, Tensor) else x.new_full((x.shape[0],), value)


def wrap(
    net: nn.Module | Callable[..., Any], process: Any, *, predicts: Predicts, data_std: float = 1.0
) -> Wrapped:
    """Turn a network into a denoiser.

    Args:
        net: `net(x, t, cond) -> tensor like x` with t (B,); see `Wrapped` for "edm".
        process: the Gaussian process that the network is or was trained under.
        predicts: what the network's output means; the module docstring has the table.
        data_std: root-mean-square standard deviation of the clean data; used by "edm" and by default plans.

    Raises:
        ConfigError: unknown `predicts`, or a standard deviation that is not positive.
    """
    if predicts not in get_args(Predicts):
        raise unknown("prediction", str(predicts), get_args(Predicts))
    if not data_std > 0:
        raise ConfigError(
            f"data_std must be positive, got {data_std}.", hint="Measure it on the training set."
        )
    return Wrapped(net, process, predicts, float(data_std))
