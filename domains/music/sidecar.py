"""The sidecar of a generated file: what was asked, of which weights, what came out, and how to get it again.

`song.flac` has `song.flac.json` beside it. The request in it is complete, so `suffuse music reproduce` needs
nothing else but the same weights and recordings, and tells by the hash of the samples whether it got the
same.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from core.errors import DataError
from domains.music.request import SongRequest

__all__ = ["FORMAT", "read_sidecar", "request_of", "samples_hash", "sidecar_path", "write_sidecar"]

FORMAT = 1


def sidecar_path(out: Path) -> Path:
    """Where the sidecar of a file lies."""
    return out.with_name(f"{out.name}.json")


def samples_hash(samples: Tensor) -> str:
    """SHA-256 of a wave as float32, before level and file format."""
    return hashlib.sha256(samples.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()


def write_sidecar(out: Path, record: Mapping[str, Any]) -> Path:
    """Write the sidecar of `out`, whole or not at all."""
    path = sidecar_path(out)
    whole = {"format": FORMAT, "generated": True, "threads": torch.get_num_threads(), **record}
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def read_sidecar(path: Path) -> dict[str, Any]:
    """Read a sidecar.

    Raises:
        DataError: no such file, not JSON, or not a sidecar of this format.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as err:
        raise DataError(f"cannot read the sidecar {path}: {err.strerror or err}.") from err
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise DataError(f"{path} is not JSON.", hint="Give the .json file beside a generated song.") from err
    if not isinstance(found, dict) or "request" not in found or "samples_sha256" not in found:
        raise DataError(
            f"{path} is no sidecar of a song.", hint="Give the .json file beside a generated song."
        )
    if found.get("format") != FORMAT:
        raise DataError(f"{path} has format {found.get('format')}, this version reads {FORMAT}.")
    return found


def request_of(sidecar: Mapping[str, Any], path: Path) -> SongRequest:
    """The request of a sidecar.

    Raises:
        DataError: a field is unknown or out of range.
    """
    try:
        return SongRequest(**sidecar["request"])
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: request.{name}: {first['msg'][0].lower()}{first['msg'][1:]}.") from err
