"""Sound files: read with their faults named, written with level, format and the tag of what is generated.

Samples are float32, full scale 1, (channels, samples). Files go through libsndfile, which reads and writes
WAV, FLAC, MP3 and Ogg Vorbis; what it cannot open goes to torchcodec where that is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, DataError, unknown
from core.extras import require
from core.outlook import check_output
from domains.music.loudness import Level, constant, level_of, normalise
from domains.music.tagging import write_tag

__all__ = [
    "DEPTHS",
    "FORMATS",
    "Saved",
    "Wave",
    "check_header",
    "check_samples",
    "read_audio",
    "resample",
    "write_audio",
]

FORMATS = (".wav", ".flac", ".mp3", ".ogg")
# Sample formats: the default first.
DEPTHS = {".wav": ("16", "24", "32f"), ".flac": ("16", "24"), ".mp3": (), ".ogg": ()}
SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}
# Lossy coding at high quality, variable rate.
CODING = {
    ".mp3": {"format": "MP3", "compression_level": 0.0, "bitrate_mode": "VARIABLE"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.2},
}
QUIETEST = 1e-5  # -100 dB: below it a file is silent
FULL = 1 - 2**-15  # the largest value of 16 bits
OFFSET = 0.02  # of full scale: a constant worth a warning


@dataclass(frozen=True)
class Wave:
    """Sound.

    Attributes:
        samples: (channels, samples), float32, full scale 1.
        rate: samples a second.
        name: the file it came from, for messages.
        warnings: what is doubtful about it.
    """

    samples: Tensor
    rate: int
    name: str = "the wave"
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples.shape[-1] / self.rate

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return self.samples.shape[0]


@dataclass(frozen=True)
class Saved:
    """A file that was written.

    Attributes:
        level: of the file as it is read back, after rounding and lossy coding.
        clipped: samples that were beyond full scale and had to be cut before coding.
        notes: what the reader should know: clipping, a loudness that was not reached.
    """

    path: Path
    depth: str
    level: Level
    clipped: int
    notes: tuple[str, ...] = field(default=())

    def row(self) -> dict[str, Any]:
        """The file as a row of a report."""
        return {"file": str(self.path), "format": self.depth, "cut_samples": self.clipped, **self.level.row()}


def read_audio(path: Path, rate: int | None = None, *, channels: int | None = None) -> Wave:
    """Read a sound file.

    Args:
        rate: resample to this rate; None keeps the file's.
        channels: 1 averages the channels, 2 doubles a single one; None keeps what the file has.

    Raises:
        DataError: the file is absent, unreadable, without samples, silent, constant, or holds values that are
            not finite.
    """
    samples, found = _decode(Path(path))
    wave = check_samples(Wave(samples, found, str(path)))
    if channels is not None and channels != wave.channels:
        mixed = wave.samples.mean(0, keepdim=True)
        wave = replace(wave, samples=mixed if channels == 1 else mixed.expand(channels, -1).contiguous())
        check_samples(wave)
    if rate is not None and rate != wave.rate:
        wave = replace(wave, samples=resample(wave.samples, wave.rate, rate), rate=rate)
    return wave


def check_header(path: Path) -> None:
    """Refuse a file that cannot be read as sound, by its first bytes; cheap, before a long run.

    Raises:
        DataError: it is absent, empty or no sound.
    """
    soundfile = require("soundfile", extra="music")
    try:
        soundfile.info(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        _decode(Path(path))  # says what is wrong, or reads it in another way


def check_samples(wave: Wave) -> Wave:
    """Refuse a wave that carries no sound, and name why.

    Returns:
        The wave, with warnings about clipping and a constant offset.

    Raises:
        DataError: no samples, more than two channels, values that are not finite, silence, or a constant.
    """
    x, name = wave.samples, wave.name
    if x.numel() == 0:
        raise DataError(f"{name} holds no samples: its length is zero.", hint="Give a file with sound in it.")
    if x.shape[0] > 2:
        raise DataError(f"{name} has {x.shape[0]} channels, expected 1 or 2.", hint="Mix it to stereo first.")
    bad = ~torch.isfinite(x).all(0)
    if bad.any():
        first = int(bad.int().argmax())
        raise DataError(
            f"{name} holds NaN or infinite values at {int(bad.sum())} of {x.shape[-1]} samples, the first at "
            f"{first / wave.rate:.3f} s.",
            hint="Export it again from the program that made it.",
        )
    if float(x.abs().max()) < QUIETEST:
        raise DataError(f"{name} is silent throughout (peak below -100 dB).", hint="Give a file with sound.")
    offset = constant(x)
    if float((x - offset[:, None]).abs().max()) < QUIETEST:
        raise DataError(
            f"{name} is a constant of {float(offset.abs().max()):.3f} (DC), without sound.",
            hint="Give a file with sound.",
        )
    warnings = list(wave.warnings)
    if float(offset.abs().max()) > OFFSET:
        warnings.append(f"{name} has a constant offset (DC) of {float(offset.abs().max()):.3f}; it is kept.")
    cut = int((x.abs() >= FULL).sum())
    if cut > x.numel() * 1e-4:
        warnings.append(f"{name} clips: {cut} of {x.numel()} samples are at full scale.")
    return replace(wave, warnings=tuple(dict.fromkeys(warnings)))


def resample(samples: Tensor, rate: int, to: int) -> Tensor:
    """Change the rate of a wave by windowed-sinc interpolation; the last axis is time."""
    if rate == to:
        return samples
    return require("torchaudio.functional", extra="music").resample(
        samples, rate, to, lowpass_filter_width=32, rolloff=0.95
    )


def write_audio(
    path: Path,
    samples: Tensor,
    rate: int,
    *,
    depth: str | None = None,
    lufs: float | None = None,
    tag: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Saved:
    """Write a generated wave, marked as such.

    Args:
        path: .wav, .flac, .mp3 or .ogg.
        samples: (channels, samples), full scale 1.
        depth: "16", "24" or "32f" (WAV only); the first that the format has when None.
        lufs: scale to this loudness first, -14 being usual; None keeps the level.
        tag: keys of `tagging.write_tag`.

    Returns:
        What was written, its level read back from the file.

    Raises:
        ConfigError: the file exists, or the format has no such depth.
        DataError: the wave has no samples, values that are not finite, or no loudness to scale.
    """
    check_output(path, FORMATS, overwrite=overwrite)
    depth = chosen_depth(path, depth)
    if samples.ndim != 2 or samples.numel() == 0:
        raise DataError(f"expected a wave (channels, samples), got shape {tuple(samples.shape)}.")
    if not bool(torch.isfinite(samples).all()):
        raise DataError("the wave holds NaN or infinite values; nothing was written.")
    x, notes = samples.detach().cpu().float(), []
    if lufs is not None:
        x, note = normalise(x, rate, lufs=lufs)
        notes += [note] if note else []
    clipped = 0
    if depth != "32f":
        clipped = int((x.abs() > 1).sum())
        x = x.clamp(-1, 1)
    if clipped:
        notes.append(f"{clipped} of {x.numel()} samples were beyond full scale and were cut in {path.name}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    _encode(path, x, rate, depth)
    write_tag(path, tag)
    level = level_of(_decode(path)[0], rate)
    if level.true_peak_db > 0:
        notes.append(f"the true peak of {path.name} is {level.true_peak_db:+.2f} dB: players may clip it.")
    return Saved(path, depth or path.suffix[1:], level, clipped, tuple(notes))


def chosen_depth(path: Path, depth: str | None) -> str:
    """The sample format of a file; "" for lossy ones.

    Raises:
        ConfigError: an unknown format, or a depth that it lacks.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise unknown("sound file type", suffix or path.name, FORMATS)
    known = DEPTHS[suffix]
    if depth is None:
        return known[0] if known else ""
    if depth not in known:
        able = f"has {', '.join(known)}" if known else "is lossy and has no sample format"
        raise ConfigError(
            f"{suffix} {able}; got '{depth}'.", hint="Leave it out, or choose another file type."
        )
    return depth


def _encode(path: Path, x: Tensor, rate: int, depth: str) -> None:
    soundfile = require("soundfile", extra="music")
    data = np.ascontiguousarray(x.T.numpy())
    how: dict[str, Any] = CODING.get(path.suffix.lower()) or {
        "format": path.suffix[1:].upper(),
        "subtype": SUBTYPES[depth],
    }
    try:
        with soundfile.SoundFile(path, "w", samplerate=rate, channels=x.shape[0], **how) as file:
            for start in range(0, len(data), rate):  # by the second: Vorbis takes its stack from the block
                file.write(data[start : start + rate])
    except (soundfile.LibsndfileError, OSError) as err:
        raise DataError(f"cannot write {path} at {rate} Hz: {_reason(err)}.") from err


def _decode(path: Path) -> tuple[Tensor, int]:
    """Samples (channels, samples) and rate of a file."""
    if not path.is_file():
        raise DataError(f"no such sound file: {path}.", hint="Check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: it has no bytes.", hint="Give a file with sound in it.")
    soundfile = require("soundfile", extra="music")
    try:
        data, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as err:
        found = _torchcodec(path)
        if found is not None:
            return found
        raise DataError(
            f"{path} cannot be read as sound: {_reason(err)}.",
            hint=f"Readable are {', '.join(FORMATS)}; torchcodec, where installed, adds what FFmpeg reads.",
        ) from err
    return torch.from_numpy(np.ascontiguousarray(data.T)), int(rate)


def _torchcodec(path: Path) -> tuple[Tensor, int] | None:
    """Samples and rate by torchcodec; None where it is not installed or cannot read the file either."""
    try:
        from torchcodec.decoders import AudioDecoder  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, OSError, RuntimeError):
        return None
    try:
        found = AudioDecoder(str(path)).get_all_samples()
    except (RuntimeError, ValueError):
        return None
    return found.data.float(), int(found.sample_rate)


def _reason(err: BaseException) -> str:
    """The last clause of libsndfile's sentence, which names the file already."""
    text = str(getattr(err, "error_string", None) or err).strip().rstrip(".")
    if text.startswith("File does not exist"):  # what it says of an MP3 without a frame; the file was opened
        return "no sound was found in it"
    return text or type(err).__name__
