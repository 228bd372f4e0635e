"""A model as a folder that other programs open: config.json, model.safetensors and the tokenizer."""

from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once
from domains.language.exchange import from_pretrained, save_pretrained
from domains.language.workflows.opening import open_model

__all__ = ["export_model"]


def export_model(
    run: str, folder: Path, *, overwrite: bool = False, ready: Ready = at_once
) -> dict[str, Any]:
    """Write a model for sharing, and read it again.

    Raises:
        ConfigError: the folder holds something already.
    """
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise ConfigError(
            f"{folder} is not empty; nothing was overwritten.", hint="Name another folder, or pass --force."
        )
    model = open_model(run)
    ready(Outlook((f"export {run} to {folder}",)))
    save_pretrained(model, folder)
    again = from_pretrained(folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        "model": run,
        "folder": str(folder),
        "parameters": sum(weight.numel() for weight in again.net.parameters()),
        "files": [{"file": path.name, "bytes": path.stat().st_size} for path in files],
    }
