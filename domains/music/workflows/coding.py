"""Recordings to latents and back: files of latents that edits and other programs read."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.device import choose_device
from core.errors import DataError, ModelMismatch
from core.outlook import Outlook, Ready, at_once, check_output
from core.progress import Progress, silent
from domains.music.audio import FORMATS, chosen_depth, read_audio, write_audio
from domains.music.codec import chunked
from domains.music.codec.latents import encode_corpus, encoder_digest
from domains.music.frames import seconds_of
from domains.music.workflows.opening import Opened, digest, open_codec

__all__ = ["decode_file", "encode_file", "encode_folder", "read_latent_file", "write_latents"]


def encode_file(
    source: Path,
    out: Path,
    *,
    codec: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Encode a recording; the latents are the means of their law, so that nothing is drawn.

    Args:
        out: .safetensors with `latents` (stems, C, L), standardised, and what made them.

    Returns:
        Report, with the log-spectral error of what the codec makes of the recording.
    """
    where, note = choose_device(device)
    check_output(out, (".safetensors",), overwrite=overwrite, source=source)
    coder, file = open_codec(codec, where)
    wave = read_audio(source, coder.rate, channels=coder.wave_channels)
    plan = f"encode {source}, {wave.seconds:.1f} s, with {file}: {coder.channels} channels at 21.5 Hz"
    ready(Outlook((plan, *([note] if note else [])), wave.warnings, str(where)))
    began = time.perf_counter()
    with torch.no_grad():
        law = chunked.encode(coder, wave.samples[None].to(where))
    seconds = time.perf_counter() - began
    record = {"codec": digest(file), "encoder": encoder_digest(coder), "samples": wave.samples.shape[-1]}
    _save(out, law.mean.cpu(), coder, record)
    return {
        "input": str(source),
        "output": str(out),
        "channels": coder.channels,
        "frames": law.mean.shape[-1],
        "seconds": round(wave.seconds, 3),
        "wall_s": round(seconds, 3),
        "latent_std": float(law.mean.std()),
    }


def encode_folder(
    corpus: Path,
    folder: Path,
    *,
    codec: str | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Encode every song of a corpus, stems and mix, for training; what is encoded already stays."""
    coder, file = open_codec(codec)
    ready(Outlook((f"encode the corpus {corpus} with {file} into {folder}",)))
    names = encode_corpus(coder, corpus, folder, progress=progress)
    return {"corpus": str(corpus), "latents": str(folder), "songs": len(names), "codec": str(file)}


def decode_file(
    source: Path,
    out: Path,
    *,
    codec: str | None = None,
    depth: str | None = None,
    lufs: float | None = None,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
) -> dict[str, Any]:
    """Make a wave of a file of latents; stems are added up.

    Raises:
        ModelMismatch: the latents were made by another encoder.
    """
    where, note = choose_device(device)
    check_output(out, FORMATS, overwrite=overwrite, source=source)
    chosen_depth(out, depth)
    coder, file = open_codec(codec, where)
    latents, record = read_latent_file(source)
    if record.get("encoder") not in (None, encoder_digest(coder)) or latents.shape[1] != coder.channels:
        raise ModelMismatch(
            f"{source} was made by encoder {record.get('encoder')} with {latents.shape[1]} channels; "
            f"{file} is {encoder_digest(coder)} with {coder.channels}.",
            hint="Name the codec that made them with --codec.",
        )
    plan = f"decode {source}, {seconds_of(latents.shape[-1]):.1f} s, with {file}"
    ready(Outlook((plan, *([note] if note else [])), device=str(where)))
    began = time.perf_counter()
    with torch.no_grad():
        wave = chunked.decode(coder, latents.to(where)).sum(0).cpu()
    seconds = time.perf_counter() - began
    samples = int(record.get("samples", wave.shape[-1]))
    saved = write_audio(
        out,
        wave[:, :samples],
        coder.rate,
        depth=depth,
        lufs=lufs,
        tag={"checkpoint": digest(file)},
        overwrite=overwrite,
    )
    return {
        "input": str(source),
        "output": str(out),
        "seconds": round(samples / coder.rate, 3),
        "wall_s": round(seconds, 3),
        "real_time_factor": round(seconds * coder.rate / samples, 4),
        **saved.row(),
        "warnings": list(saved.notes),
    }


def write_latents(path: Path, latents: Tensor, opened: Opened, *, stems: int) -> None:
    """Write the latents of a song, (1, stems x C, L), as (stems, C, L) with what made them."""
    record = {"codec": digest(opened.codec_file), "encoder": encoder_digest(opened.codec)}
    _save(path, latents.reshape(stems, -1, latents.shape[-1]), opened.codec, record)


def read_latent_file(path: Path) -> tuple[Tensor, dict[str, Any]]:
    """Latents (stems, C, L) of a file, and its record.

    Raises:
        DataError: no such file, or none of latents.
    """
    try:
        with safe_open(path, framework="pt") as file:
            latents = file.get_tensor("latents")
            record = json.loads((file.metadata() or {}).get("record", "{}"))
    except (SafetensorError, OSError) as err:
        raise DataError(
            f"{path} is no file of latents: {err}.", hint="Make one: suffuse music encode song.flac -o ..."
        ) from err
    if latents.ndim != 3 or not bool(torch.isfinite(latents).all()):
        raise DataError(f"{path} holds latents {tuple(latents.shape)}, expected finite (stems, C, L).")
    return latents.float(), record


def _save(path: Path, latents: Tensor, codec: Any, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**record, "rate": codec.rate, "hop": codec.hop, "channels": codec.channels}
    save_file({"latents": latents.float().contiguous()}, path, {"record": json.dumps(whole)})
