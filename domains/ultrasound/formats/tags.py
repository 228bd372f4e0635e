"""What travels beside the values of a record, as one JSON text: kind, geometry and the source's tags."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.errors import DataError
from domains.ultrasound.data import Geometry, Kind, Record, from_meta, to_meta

__all__ = ["decode", "encode", "plain", "with_warnings"]

KINDS = ("raw_data", "beamformed_data", "envelope_data", "image")


def plain(value: Any) -> Any:
    """The value as plain JSON: NumPy values become Python ones, tuples become lists, bytes become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value


def encode(record: Record) -> str:
    """Kind, domain, geometry and tags as JSON. Warnings are left out: they belong to one reading."""
    tags = {key: value for key, value in record.meta.items() if key != "warnings"}
    content = {
        "kind": record.kind,
        "domain": record.domain,
        "geometry": to_meta(record.geometry),
        "meta": tags,
    }
    return json.dumps(plain(content))


def decode(text: str, *, where: str) -> tuple[Kind, str | None, Geometry, dict[str, Any]]:
    """Kind, domain, geometry and tags from what `encode` wrote.

    Raises:
        DataError: not JSON, no known kind, or geometry fields that do not exist.
    """
    try:
        content = json.loads(text)
    except ValueError as err:
        raise DataError(
            f"{where}: expected a JSON object beside the data, got text that is not JSON."
        ) from err
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind not in KINDS:
        raise DataError(f'{where}: expected "kind" to be one of {", ".join(KINDS)}, got {kind!r}.')
    return (
        kind,
        content.get("domain"),
        from_meta(content.get("geometry") or {}),
        dict(content.get("meta") or {}),
    )


def with_warnings(meta: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Tags with the list of warnings of this reading."""
    return {**meta, "warnings": list(warnings)}
