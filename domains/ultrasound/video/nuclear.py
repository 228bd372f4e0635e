"""Nuclear diffusion: Y = X + L, frames X under a 2-D diffusion prior each, haze L of low rank over frames.

    E(X, L) = mu / 2 |Y - L - X|_F^2,       state {"frames": x_t, "haze": L}, both (B, F, H, W)

    per step    X <- D(x_t, t)                          the prior, frame by frame
                X <- X - grad_X E  =  X + mu (Y - L - X)
                x_s from x_t and X                       the row of the plan
                L <- L - grad_L (E + gamma |L|_*)  =  L + mu (Y - L - X) - gamma U V^T

The pair is one state under a product process whose haze part is never corrupted (`Still`); the rule is a
combinator of the prior, and `core.run` walks the plan: its rows move frames by DDIM and replace the haze by
what the rule answers. L starts at 0, and the run starts late, at the input under a little noise.

Two ways to treat the nuclear norm: "subgradient" (published, above) and "prox", which follows the gradient of
E by a shrinkage of the singular values by gamma, so that L has exactly the rank it needs. With X held still
the fixed point of "prox" is the shrinkage of Y - D by gamma / (mu (1 - mu)).

Source: Stevens, Nolan, Robert & van Sloun 2025, arXiv:2509.20886. Deviations: noise-to-signal levels spaced
evenly in their logarithm under an EDM-preconditioned prior in place of a cosine-type schedule of 5000 steps
entered at step 4500; the noise of a step is recomputed from the corrected X; the frames of a cine share their
noise unless told otherwise. The order of the two gradients is the order they are stated in: L sees the
corrected X.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError, unknown
from core.plan import JointRow, Plan, Row, ddim, log
from core.process import Gaussian, Product
from core.state import Euclidean, Source, Space, randn
from core.steer import Steered
from domains.ultrasound.video.lowrank import nuclear_subgradient, shrink_singular

__all__ = ["PerFrame", "SharedNoise", "Shrink", "Still", "nuclear", "nuclear_plan"]

Shrink = Literal["subgradient", "prox"]


@dataclass(frozen=True)
class Still(Gaussian):
    """A part that is never corrupted: alpha = 1 and sigma = 0 at every time."""

    def alpha(self, t: Any) -> Any:
        return 1.0

    def sigma(self, t: Any) -> Any:
        return 0.0

    def f(self, t: Any) -> Any:
        return 0.0

    def g2(self, t: Any) -> Any:
        return 0.0

    def time(self, ratio: float) -> float:
        return 0.0

    @property
    def ends(self) -> tuple[float, float]:
        return 0.0, float("inf")


@dataclass(frozen=True)
class SharedNoise:
    """Cines (B, F, H, W) whose frames share one noise: what stands still in the data stays still."""

    def noise(self, like: Tensor, gen: Source | None, mask: Tensor | None = None) -> Tensor:
        return randn(like[:, :1], gen).expand(like.shape)

    def project(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x

    def dim(self, like: Tensor, mask: Tensor | None = None) -> Tensor:
        return Euclidean().dim(like[:, :1])


@dataclass(frozen=True)
class PerFrame:
    """A denoiser of pictures (B, 1, H, W) as a denoiser of cines (B, F, H, W), one call for all frames.

    Args:
        denoiser: of pictures.
        space: where the noise of a cine lives.
    """

    denoiser: Denoiser
    space: Space = field(default_factory=Euclidean)

    @property
    def process(self) -> Gaussian:
        return replace(self.denoiser.process, space=self.space)

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        """Posterior mean of every frame, like x."""
        if isinstance(t, Tensor) and t.ndim == 1:
            t = t.repeat_interleave(x.shape[1])
        return Posterior(mean=self.denoiser(x.flatten(0, 1)[:, None], t, cond).mean.reshape(x.shape))


def nuclear(
    frames: Denoiser, y: Tensor, *, mu: float, gamma: float, shrink: Shrink = "subgradient"
) -> Steered:
    """Tie frames and haze to what was recorded; one call of the denoiser per evaluation.

    Args:
        frames: denoiser of cines, such as `PerFrame(prior)`.
        y: the recording, (B, F, H, W), in the unit of the prior.
        mu: weight of the residual, in (0, 1); a share of it moves into X and into L at every step.
        gamma: weight of the nuclear norm, >= 0: what every singular value of L loses per step.
        shrink: "subgradient" or "prox".

    Returns:
        A denoiser of {"frames", "haze"}, both like y.
    """
    if not 0 < mu < 1:
        raise ConfigError(f"mu must lie in (0, 1), got {mu}.")
    if not gamma >= 0:
        raise ConfigError(f"gamma must be at least 0, got {gamma}.")
    if shrink not in get_args(Shrink):
        raise unknown("shrinkage", shrink, get_args(Shrink))

    def answer(x: Mapping[str, Any], t: Any, cond: Any) -> dict[str, Any]:
        haze = x["haze"]
        mean = frames(x["frames"], t, cond).mean
        mean = mean + mu * (y - haze - mean)
        moved = haze + mu * (y - haze - mean)
        if shrink == "prox":
            moved = shrink_singular(moved, gamma)
        elif gamma:
            moved = moved - gamma * nuclear_subgradient(haze)
        return {**x, "frames": mean, "haze": moved}

    return Steered(Product({"frames": frames.process, "haze": Still()}), answer)


def nuclear_plan(process: Product, steps: int, *, start: float, end: float, eta: float = 0.0) -> Plan:
    """DDIM for the frames, replacement for the haze, at levels sigma / alpha from `start` to `end`, then 0.

    Args:
        steps: evaluations.
        eta: share of fresh noise, 0 to 1.
    """
    part = process.parts["frames"]
    rows = ddim(part, log(part, steps, low=end, high=start), eta=eta).rows
    return Plan(
        "nuclear",
        tuple(
            JointRow(row.t, row.s, {"frames": row, "haze": Row(row.t, row.s, 0.0, (1.0,))})
            for row in rows
            if isinstance(row, Row)
        ),
    )
