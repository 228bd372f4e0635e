"""Processes as plain JSON values, for checkpoints and run records."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from core.errors import CheckpointError
from core.process.betas import LinearBetas
from core.process.correlated import CorrelatedFlow
from core.process.gaussian import VE, VP, CosineVP, Karras, RectifiedFlow, SigmaPower, SubVP
from core.process.interpolant import Interpolant
from core.process.masking import Masking
from core.process.poisson import Poisson
from core.process.product import Product
from core.process.token_noise import UniformTokens

__all__ = ["from_record", "to_record"]

KINDS = {
    kind.__name__: kind
    for kind in (
        VP,
        SubVP,
        VE,
        Karras,
        CosineVP,
        RectifiedFlow,
        SigmaPower,
        LinearBetas,
        CorrelatedFlow,
        Masking,
        UniformTokens,
        Poisson,
        Interpolant,
    )
}


def to_record(process: Any) -> dict[str, Any]:
    """Name and settings of a process. The space is not stored: it belongs to the domain that rebuilds the
    model.
    """
    if isinstance(process, Product):
        return {"kind": "Product", "parts": {name: to_record(part) for name, part in process.parts.items()}}
    name = type(process).__name__
    if name not in KINDS:
        raise CheckpointError(
            f"a process of type {name} cannot be stored (known: {', '.join(sorted(KINDS))}, Product)."
        )
    return {"kind": name, **{f.name: getattr(process, f.name) for f in fields(process) if f.name != "space"}}


def from_record(record: Mapping[str, Any]) -> Any:
    """The process that `to_record` described.

    Raises:
        CheckpointError: the record names a process that this version does not know, or settings it refuses.
    """
    settings = dict(record)
    name = settings.pop("kind", None)
    if name == "Product":
        return Product({key: from_record(part) for key, part in settings["parts"].items()})
    if name not in KINDS:
        raise CheckpointError(
            f"unknown process '{name}' in the checkpoint (known: {', '.join(sorted(KINDS))}, Product)."
        )
    try:
        return KINDS[name](**settings)
    except TypeError as err:
        raise CheckpointError(f"settings {sorted(settings)} do not fit the process {name}.") from err
