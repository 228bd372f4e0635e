"""Reports as plain JSON values: finite numbers, text, lists and mappings, and nothing else."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any

from core.errors import NumericalError

__all__ = ["plain", "to_json"]


def plain(value: Any, where: str = "report") -> Any:
    """Turn a report into values that JSON knows.

    Numbers of numpy and torch become Python numbers, paths become text, dataclasses and pydantic models
    become mappings, sequences and arrays become lists.

    Args:
        value: what to convert; it is not changed.
        where: name of the value in errors, such as "report.metrics".

    Raises:
        NumericalError: a number is NaN or infinite.
        TypeError: a value has no JSON form; this is an error of the program.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            if not math.isfinite(value):
                raise NumericalError(
                    f"{where} is {value}; a report holds finite numbers only.",
                    hint="Look at the input and the settings: this number has no value for them.",
                )
            return float(value)
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
        case Sequence() if not isinstance(value, bytes):
            return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), where)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"), where)
    if hasattr(value, "tolist"):  # arrays and scalars of numpy and torch
        return plain(value.tolist(), where)
    raise TypeError(f"{where} is a {type(value).__name__}, which has no JSON form")


def to_json(value: Any, where: str = "report") -> str:
    """Text of one JSON object, indented, keys in the order given, ending with a newline."""
    return json.dumps(plain(value, where), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
