"""What every solver is given, in the unit of the prior: prior, operator, measurement, noise."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.inverse.linear import Linear
from core.plan import karras
from core.process.gaussian import Gaussian
from core.state import Source
from core.steer.measured import Observation

__all__ = ["Counted", "Kind", "Method", "Problem", "misfit"]

Kind: TypeAlias = Literal["sample", "mean", "optimum"]


class Counted:
    """A denoiser that counts what is asked of it: `states` is the number of single states denoised."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.process = denoiser.process
        self.states = 0

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        self.states += x.shape[0]
        return self.denoiser(x, t, cond)


@dataclass(frozen=True)
class Problem:
    """One inverse problem y = A(x_0) + noise.

    Attributes:
        prior: denoiser of a Gaussian process.
        seen: operator, measurement (B, ...) and noise.
        data_std: root-mean-square standard deviation of clean states; None when nobody said.
        cond: handed to the denoiser.
    """

    prior: Denoiser
    seen: Observation
    data_std: float | None = None
    cond: Any = None

    @property
    def process(self) -> Gaussian:
        found: Gaussian = self.prior.process
        return found

    @property
    def std(self) -> float:
        """`data_std`, which the method cannot do without."""
        if self.data_std is None:
            raise ConfigError(
                "this method needs the standard deviation of clean states, and the prior does not carry it.",
                hint="Pass data_std= to solve.",
            )
        return self.data_std

    @property
    def linear(self) -> Linear:
        """The operator, known to be linear."""
        assert isinstance(self.seen.operator, Linear)
        return self.seen.operator

    def like(self) -> Tensor:
        """Zeros shaped like the states, (B, *shape)."""
        y = self.seen.y
        return y.new_zeros((len(y), *self.seen.operator.shape))

    def start(self) -> Tensor:
        """A first guess: A^+ y, the operator's own `start`, or zeros."""
        operator = self.seen.operator
        if isinstance(operator, Linear):
            return operator.pinv(self.seen.y)
        return operator.start(self.seen.y) if hasattr(operator, "start") else self.like()

    def times(self, n: int, *, low: float | None = None, high: float | None = None) -> list[float]:
        """n + 1 times for n evaluations, the last at zero noise.

        The first ratio is 50 standard deviations of the data where these are known and the process reaches
        that far: higher noise says nothing about them.
        """
        if high is None and self.data_std is not None:
            far = self.process.ends[1]
            high = min(50 * self.data_std, self.process.ratio(far))
        return karras(self.process, n, low=low, high=high)


class Method(Protocol):
    """A solver with its settings."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    nonlinear: ClassVar[bool]

    def run(self, problem: Problem, nfe: int, gen: Source | None) -> Tensor:
        """Solve with `nfe` evaluations of the prior; returns states (B, *shape) in the prior's unit."""


def misfit(problem: Problem, x: Tensor) -> Tensor:
    """|y - A(x)|^2 / 2 of each sample, (B,)."""
    return (problem.seen.y - problem.seen.operator.A(x)).flatten(1).square().sum(1) / 2
