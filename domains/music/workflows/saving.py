"""Write what was made: the song, its stems, the sidecar, and a picture in the run folder."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError
from core.outlook import check_output
from domains.music.audio import FORMATS, Saved, write_audio
from domains.music.config import Sampling
from domains.music.loudness import CEILING_DB, normalise, to_db, true_peak
from domains.music.lrc.events import Lyrics, Problem
from domains.music.plots import plot_song
from domains.music.request import SongRequest, config_hash
from domains.music.sidecar import samples_hash, sidecar_path, write_sidecar
from domains.music.workflows.opening import Opened

__all__ = ["Made", "Writing", "check_outputs", "save_song"]

STEMS = ("voice", "backing")


@dataclass(frozen=True)
class Writing:
    """How a song is written.

    Attributes:
        out: the song; stems go to OUT-voice and OUT-backing.
        lufs: loudness to scale to, or None for the level as it came out.
        depth: sample format, see `audio.DEPTHS`.
        stems: write the two stems of a model that has them.
        latents: file for the latents, .safetensors, or None.
        gain: factor in place of a loudness, to repeat an earlier level.
    """

    out: Path
    lufs: float | None = None
    depth: str | None = None
    stems: bool = True
    latents: Path | None = None
    overwrite: bool = False
    gain: float | None = None

    def stem(self, name: str) -> Path:
        """Where a stem goes."""
        return self.out.with_name(f"{self.out.stem}-{name}{self.out.suffix}")


@dataclass(frozen=True)
class Made:
    """A song that a model made.

    Attributes:
        wave: (stems, N), their sum is the song.
        latents: (1, stems x C, L).
        calls: evaluations of the network.
        tiles: runs that the song was cut into.
        seconds: wall time, decoding included.
        lyrics: as read.
        record: more for sidecar and report, such as style audio, input, losses of control.
        scaled: its level may be changed: nothing of it has to keep the samples or the loudness it has.
    """

    wave: Tensor
    latents: Tensor
    calls: int
    tiles: int
    seconds: float
    lyrics: Lyrics
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    scaled: bool = False


def check_outputs(writing: Writing, stems: int) -> None:
    """Refuse outputs before any work is done.

    Raises:
        ConfigError: one exists, or has an extension or depth that does not fit; a loudness that is no number.
    """
    from domains.music.audio import chosen_depth

    check_output(writing.out, FORMATS, overwrite=writing.overwrite)
    chosen_depth(writing.out, writing.depth)
    if writing.lufs is not None and not math.isfinite(writing.lufs):
        raise ConfigError(f"a loudness is a number of LUFS, got {writing.lufs}.", hint="-14 is usual.")
    check_output(sidecar_path(writing.out), (".json",), overwrite=writing.overwrite)
    if stems == 2 and writing.stems:
        for name in STEMS:
            check_output(writing.stem(name), FORMATS, overwrite=writing.overwrite)
    if writing.latents is not None:
        check_output(writing.latents, (".safetensors",), overwrite=writing.overwrite)


def save_song(
    made: Made,
    opened: Opened,
    request: SongRequest,
    sampling: Sampling,
    writing: Writing,
    folder: Path | None,
) -> dict[str, Any]:
    """Write files and sidecar; returns the report.

    Args:
        folder: receives `song.png` and `song.csv`.
    """
    rate = opened.model.rate
    mix = made.wave.sum(0, keepdim=True)
    written = [mix, *(stem[None] for stem in made.wave)] if _stems(made, writing) else [mix]
    gain, said = _gain(made, mix, written, rate, writing)
    notes = [*made.notes, *said]
    hashes = opened.hashes()
    tag = {"seed": str(request.seed), "checkpoint": hashes["model"]}
    saved = [_write(writing.out, mix * gain, rate, writing, tag)]
    for name, stem in zip(STEMS, written[1:], strict=False):
        saved.append(_write(writing.stem(name), stem * gain, rate, writing, tag))
    notes += [note for file in saved for note in file.notes]
    if writing.latents is not None:
        from domains.music.workflows.coding import write_latents

        write_latents(writing.latents, made.latents, opened, stems=len(made.wave))
    seconds = mix.shape[-1] / rate
    facts = {
        "operation": request.operation,
        "seconds": round(seconds, 3),
        "rate": rate,
        "seed": request.seed,
        "device": str(opened.model.device),
        "nfe": made.calls,
        "tiles": made.tiles,
        "steps": sampling.steps,
        "wall_s": round(made.seconds, 3),
        "real_time_factor": round(made.seconds / seconds, 4),
        "gain_db": round(to_db(gain), 3),
        "files": [file.row() for file in saved],
        "lyric_problems": [problem.row() for problem in made.problems],
        **made.record,
    }
    sidecar = write_sidecar(
        writing.out,
        {
            "request": request.model_dump(mode="json"),
            "sampling": sampling.model_dump(mode="json"),
            "config_hash": config_hash(request, sampling),
            "checkpoint_hash": hashes["model"],
            "codec_hash": hashes["codec"],
            "samples_sha256": samples_hash(made.wave),
            "gain": gain,
            "corpus": "synthetic: rendered robot voice" if _synthetic(opened) else "see the model's card",
            **facts,
            "warnings": notes,
        },
    )
    if folder is not None:
        plot_song(mix[0] * gain, rate, folder / "song.png", lyrics=made.lyrics)
        facts["figures"] = ["song.png", "song.csv"]
    return {**facts, "sidecar": str(sidecar), "samples_sha256": samples_hash(made.wave), "warnings": notes}


def _stems(made: Made, writing: Writing) -> bool:
    return writing.stems and len(made.wave) == 2


def _gain(
    made: Made, mix: Tensor, written: list[Tensor], rate: int, writing: Writing
) -> tuple[float, list[str]]:
    """The factor of everything that is written, and what is to be said of it.

    One factor for song and stems, so that the stems still add up to the song. Where the true peak of one of
    them would pass -1 dB all are lowered; a song that keeps samples of a recording is left as it is.
    """
    if writing.gain is not None:
        return writing.gain, []
    if writing.lufs is not None:
        scaled, note = normalise(mix, rate, lufs=writing.lufs)
        peak = mix.abs().argmax()
        return float(scaled.flatten()[peak] / mix.flatten()[peak]), [note] if note else []
    loudest = max(written, key=true_peak)
    peak_db, at_s = to_db(true_peak(loudest)), int(loudest.abs().argmax()) / rate
    over = peak_db - CEILING_DB
    if over <= 0 or (not made.scaled and peak_db <= 0):
        return 1.0, []
    if not made.scaled:
        return 1.0, [f"a true peak is {peak_db:+.2f} dB; the level is left: samples or loudness are kept"]
    said = f"lowered by {over:.2f} dB, song and stems: a true peak was {peak_db:+.2f} dB, at {at_s:.2f} s"
    return 10 ** (-over / 20), [said]


def _write(path: Path, samples: Tensor, rate: int, writing: Writing, tag: dict[str, str]) -> Saved:
    return write_audio(path, samples.cpu(), rate, depth=writing.depth, tag=tag, overwrite=writing.overwrite)


def _synthetic(opened: Opened) -> bool:
    """Whether the model learned from the rendered corpus."""
    card = opened.model.checkpoint.training.get("song", {})
    return "render" in str(card.get("source", "")) or not card.get("source")


def whole_frames(wave: Tensor, samples: int) -> Tensor:
    """A decoded wave cut, or filled up with silence, to this many samples."""
    return torch.nn.functional.pad(wave[..., :samples], (0, max(samples - wave.shape[-1], 0)))
