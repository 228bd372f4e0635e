"""Checkpoints: one safetensors file whose metadata hold everything else as JSON.

    Checkpoint    what is sampled from: weights, process, preconditioning, data scaling, role, training record
    Snapshot      what a run resumes from: weights, average and moments, and the step they belong to

One file has one length, written in its header, so a truncated one is recognised when it is opened. Files are
written under a temporary name, flushed to disk and renamed: a reader sees the old file or the new one, never
a part. Nothing is unpickled.
"""

import contextlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from core.denoise import Wrapped, wrap
from core.errors import CheckpointError
from core.process import from_record

__all__ = [
    "FORMAT",
    "Checkpoint",
    "Snapshot",
    "denoiser_of",
    "fill",
    "load",
    "load_snapshot",
    "newest_snapshot",
    "save",
    "save_snapshot",
]

FORMAT = 1
SNAPSHOT = re.compile(r"step-(\d{9})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A trained network, and what must be known to use it.

    Args:
        weights: tensors by name, of the bare network.
        process: record of the process, as `core.process.to_record` gives it.
        predicts: what the network's output means; see `core.denoise`.
        data_std: standard deviation of the clean data it was trained on.
        role: what the network models, such as "tissue"; loading can insist on it.
        net: settings that rebuild the network.
        preset: the preset it was trained with, or None.
        v0: mean variance within a training sample; 0 where it was not measured.
        version: of the software that wrote it.
        training: what was done: settings, steps, seed, final loss, and what the domain adds.
    """

    weights: Mapping[str, Tensor]
    process: Mapping[str, Any]
    predicts: str
    data_std: float
    role: str = ""
    net: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None
    v0: float = 0.0
    version: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """A run after `step` steps. Tensor names are "weights/...", "average/..." and "optimizer/..."."""

    step: int
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint. The file appears whole or not at all."""
    record = {f.name: getattr(checkpoint, f.name) for f in fields(Checkpoint) if f.name != "weights"}
    _write(path, checkpoint.weights, "checkpoint", record)


def load(path: Path, *, role: str | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the file.
        role: what the network must model; None accepts any.

    Raises:
        CheckpointError: the file is missing, truncated, of another kind or format, or has another role.
    """
    record, weights = _read(path, "checkpoint")
    known = {f.name for f in fields(Checkpoint)}
    if extra := sorted(set(record) - known):
        raise CheckpointError(
            f"{path.name} has unknown entries {extra}.", hint="It was written by a newer version."
        )
    try:
        checkpoint = Checkpoint(weights=weights, **record)
    except TypeError as err:
        raise CheckpointError(f"{path.name} lacks entries: {err}.") from err
    if role is not None and checkpoint.role != role:
        raise CheckpointError(
            f"{path.name} has the role '{checkpoint.role}', expected '{role}'.",
            hint="Pass the other checkpoint.",
        )
    return checkpoint


def fill(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a network that was built with the same settings.

    Raises:
        CheckpointError: a name is missing or too many, or a shape differs.
    """
    own = net.state_dict()
    missing, extra = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if missing or extra:
        raise CheckpointError(
            f"the weights do not fit {type(net).__name__}: missing {_few(missing)}, "
            f"not expected {_few(extra)}.",
            hint="Build the network with the settings stored in the checkpoint.",
        )
    for name, value in own.items():
        if value.shape != weights[name].shape:
            raise CheckpointError(
                f"'{name}' has shape {tuple(weights[name].shape)} in the checkpoint, "
                f"{tuple(value.shape)} in {type(net).__name__}.",
                hint="Build the network with the settings stored in the checkpoint.",
            )
    net.load_state_dict({name: value.to(own[name].dtype) for name, value in weights.items()})


def denoiser_of(checkpoint: Checkpoint, net: nn.Module) -> Wrapped:
    """The trained denoiser: `net`, filled with the weights, under the stored process, ready to sample."""
    fill(net, checkpoint.weights)
    process = from_record(checkpoint.process)
    denoiser = wrap(net, process, predicts=checkpoint.predicts, data_std=checkpoint.data_std)  # type: ignore[arg-type]
    return denoiser.eval().requires_grad_(False)


def save_snapshot(folder: Path, snapshot: Snapshot, *, keep: int) -> Path:
    """Write a snapshot into a run folder and remove all but the `keep` newest."""
    path = folder / f"step-{snapshot.step:09d}.safetensors"
    _write(path, snapshot.tensors, "snapshot", {"step": snapshot.step, "settings": dict(snapshot.settings)})
    for old in _snapshots(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def load_snapshot(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises:
        CheckpointError: the file is missing, truncated, or of another kind or format.
    """
    record, tensors = _read(path, "snapshot")
    return Snapshot(record["step"], tensors, record["settings"])


def newest_snapshot(folder: Path) -> Snapshot | None:
    """The newest snapshot of a run that can be read, or None; one that cannot be read is named in a warning.

    Raises:
        CheckpointError: there are snapshots, and none can be read.
    """
    paths = _snapshots(folder)
    for path in reversed(paths):
        try:
            return load_snapshot(path)
        except CheckpointError as err:
            warnings.warn(f"{err} Going back to the snapshot before it.", stacklevel=2)
    if paths:
        raise CheckpointError(
            f"none of the {len(paths)} snapshots in {folder.name} can be read.",
            hint="Start again in a new folder.",
        )
    return None


def _snapshots(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*.safetensors") if SNAPSHOT.fullmatch(path.name))


def _write(path: Path, tensors: Mapping[str, Tensor], kind: str, record: Mapping[str, Any]) -> None:
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(dict(record), default=_jsonable)
    blob = to_bytes(plain, {"kind": kind, "format": str(FORMAT), "record": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as err:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path.name} could not be written: {err.strerror}.",
            hint="The files written before it are intact.",
        ) from err
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # The rename reaches the disk only with its folder; some file systems refuse, and a reader is safe anyway.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}.", hint="Check the path, or train one.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as err:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path.name} ({size} bytes) is truncated or no safetensors file: {err}."
        ) from err
    if metadata.get("kind") != kind:
        raise CheckpointError(f"{path.name} is a {metadata.get('kind', 'foreign file')}, expected a {kind}.")
    if metadata.get("format") != str(FORMAT):
        raise CheckpointError(
            f"{path.name} has format {metadata.get('format')}, this version reads {FORMAT}.",
            hint="Train it again.",
        )
    return json.loads(metadata["record"]), tensors


def _jsonable(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else asdict(value)


def _few(names: list[str]) -> str:
    return (
        "none"
        if not names
        else ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    )
