"""Text models as folders that others can read: the layout of `huggingface_hub.PyTorchModelHubMixin`.

    config.json          settings of the network; under "suffuse" the process and how it was trained
    model.safetensors    weights of the network
    tokenizer.json       in the format of `tokenizers`, with special_ids.json and meta.json beside it

`save_pretrained` and `from_pretrained` need no network and no package beyond safetensors. `hub_network` is
the network's class with the mixin, for those who push to or pull from a hub; both read the other's folders.
Weights of other programs come in through `foreign`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.errors import CheckpointError, DataError
from core.extras import require
from core.train.checkpoint import Checkpoint
from domains.language import tokenizer_files
from domains.language.networks import TextNet
from domains.language.radd import FORMAT, ROLE, TextModel, model_of

__all__ = ["from_pretrained", "hub_network", "read_config", "save_pretrained"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_pretrained(model: TextModel, folder: Path) -> Path:
    """Write a model; each file appears under its name only once it is complete.

    Args:
        folder: made if need be; the files of an earlier export in it are replaced.

    Returns:
        The folder.

    Raises:
        DataError: a file of the folder cannot be written.
    """
    checkpoint = model.checkpoint
    own = {
        "format": FORMAT,
        "process": checkpoint.process,
        "preset": checkpoint.preset,
        "version": checkpoint.version,
        "training": checkpoint.training,
    }
    config = {**model.net.config, "suffuse": own}
    text = json.dumps(config, indent=2, default=vars, ensure_ascii=False) + "\n"
    weights = {name: value.detach().cpu().contiguous() for name, value in model.net.state_dict().items()}
    try:
        tokenizer_files.save(model.tokenizer, folder)
        part = folder / f"{WEIGHTS}.part"
        save_file(weights, part, metadata={"format": "pt"})
        part.replace(folder / WEIGHTS)
        part = folder / f"{CONFIG}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / CONFIG)
    except (OSError, SafetensorError) as err:
        raise DataError(f"{folder} cannot be written: {err}.", hint="Choose another folder.") from err
    return folder


def from_pretrained(folder: Path, device: torch.device | str = "cpu") -> TextModel:
    """Read a model that `save_pretrained` wrote.

    Raises:
        CheckpointError: a file is missing, truncated, of another format, or does not fit the others.
        ModelMismatch: the tokenizer beside the weights is another one.
    """
    config = read_config(folder)
    own = config.pop("suffuse", None)
    if not isinstance(own, Mapping):
        raise CheckpointError(
            f"{folder / CONFIG} is of another program.", hint="Read it with import_pretrained."
        )
    if own.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / CONFIG} has format {own.get('format')}, this version reads {FORMAT}.",
            hint="Export it again.",
        )
    try:
        weights = load_file(folder / WEIGHTS)
        checkpoint = Checkpoint(
            weights=weights,
            process=own["process"],
            predicts="x0",
            data_std=1.0,
            role=ROLE,
            net=config,
            preset=own["preset"],
            version=own["version"],
            training=own["training"],
        )
    except FileNotFoundError as err:
        raise CheckpointError(f"there is no {folder / WEIGHTS}.", hint="Export the model again.") from err
    except (SafetensorError, OSError) as err:
        raise CheckpointError(
            f"{folder / WEIGHTS} is truncated or no safetensors file: {err}.", hint="Export the model again."
        ) from err
    except KeyError as err:
        raise CheckpointError(f"{folder / CONFIG} lacks the entry {err}.", hint="Export it again.") from err
    model = model_of(checkpoint, tokenizer_files.load(folder))
    return replace(model, net=model.net.to(device))


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder.

    Raises:
        CheckpointError: it is missing or no mapping in JSON.
    """
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as err:
        raise CheckpointError(f"there is no {path}.", hint="Name the folder of an exported model.") from err
    except (OSError, ValueError) as err:
        raise CheckpointError(f"{path} cannot be read: {err}.") from err
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds {type(found).__name__}, expected a mapping.")
    return found


def hub_network() -> type[TextNet]:
    """The network with `save_pretrained`, `from_pretrained` and `push_to_hub` of the mixin; weights only.

    Raises:
        MissingExtra: `huggingface_hub` is not installed.
    """
    hub: Any = require("huggingface_hub", extra="language")

    class HubTextNet(TextNet, hub.PyTorchModelHubMixin):
        """`TextNet` on a hub."""

    return HubTextNet
