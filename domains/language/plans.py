"""From the settings of generation to a plan and a steered denoiser."""

from typing import Any

from core.denoise import Denoiser
from core.errors import ConfigError
from core.plan import Plan, first_hitting, redraw, remask, uniform, unmask
from core.process import Masking, UniformTokens
from core.steer.tokens import Shape, hooked, prompted, shaped
from domains.language.config import Generation

__all__ = ["plan_for", "shape_of", "steered"]

ETA = {"cap": 0.008, "rescale": 0.05, "conf": 1.0, "loop": 0.02}


def plan_for(process: Masking | UniformTokens, settings: Generation, free: int) -> Plan:
    """The plan for a region of `free` tokens.

    Raises:
        ConfigError: the settings contradict each other, or do not fit the process.
    """
    if isinstance(process, UniformTokens):
        if settings.plan != "unmask" or settings.order != "random":
            raise ConfigError(
                "a model of uniform noise has no masks to order.", hint="Leave out --plan and --order."
            )
        return redraw(process, uniform(process, settings.steps))
    if settings.threshold and settings.order != "confidence":
        raise ConfigError(f"--threshold goes with --order confidence, got '{settings.order}'.")
    if settings.plan == "first-hitting":
        return first_hitting(process, free, order=settings.order)
    grid = uniform(process, settings.steps)
    if settings.plan != "unmask":
        if settings.order != "random":
            raise ConfigError(f"remasking has no order, got '{settings.order}'.", hint="Leave out --order.")
        eta = ETA[settings.plan] if settings.eta is None else settings.eta
        return remask(process, grid, settings.plan, eta=eta)
    return unmask(
        process,
        grid,
        order="each" if settings.order == "random" else settings.order,
        threshold=settings.threshold,
        draw="float32" if settings.sampling_dtype == "fp32" else "float64",
    )


def shape_of(settings: Generation) -> Shape:
    """How the law of each token is bent."""
    return Shape(
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
        settings.repetition,
        settings.banned,
    )


def steered(denoiser: Denoiser, settings: Generation, eos_id: int | None, *, last: bool = True) -> Denoiser:
    """The denoiser under the settings' guidance, penalty and shape.

    Args:
        last: whether the region is the last block, over which the penalty of the end of text falls to 0.
    """
    denoiser = prompted(denoiser, settings.guidance)
    if settings.eos_penalty and eos_id is not None:

        def late(t: Any, x: Any, logits: Any, where: Any) -> Any:
            out = logits.clone()
            out[:, eos_id] -= settings.eos_penalty * (float(t) if last else 1.0)
            return out

        denoiser = hooked(denoiser, late)
    return shaped(denoiser, shape_of(settings))
