"""What a request tells the model: lyrics on frames, the style, the length, and what is doubtful in them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.music.audio import Wave, read_audio
from domains.music.frames import seconds_of
from domains.music.generation import condition
from domains.music.lrc.events import SECTIONS, Lyrics, Problem, refuse
from domains.music.lrc.parse import parse
from domains.music.lyrics import Alignment, frame_of, frame_phones, phone_counts
from domains.music.model import SongModel
from domains.music.onsets import spread_phones
from domains.music.request import SongRequest
from domains.music.style import StyleEncoder, along, blend, encoder_for
from domains.music.workflows.opening import digest, open_tagger

__all__ = ["Told", "length_of", "sampling_notes", "tell"]

# How lyrics are written for a model, by how it was trained.
ALIGNMENTS: Mapping[str, Alignment] = {"sentence": "sentence", "word": "word", "none": "none"}
# Models that read the onset of every phone, which is guessed from the stamps there are.
GUESSED = ("spread", "phone", "mixed")
TAIL_S = 3.0  # after the last phone has begun, where nothing says how long a song is
PHONES_A_SECOND = 6.0  # of slow singing, for the same guess


@dataclass(frozen=True)
class Told:
    """The condition of one song.

    Attributes:
        cond: for `generation.compose`.
        negative: style to lead away from, (S,), or None.
        lyrics: as read.
        problems: of the lyrics, in the file and on the frames.
        style_audio: file, hash and licence of the recording whose style was taken, or None.
    """

    cond: dict[str, Any]
    negative: Tensor | None
    lyrics: Lyrics
    problems: tuple[Problem, ...]
    style_audio: dict[str, str] | None

    def warnings(self) -> tuple[str, ...]:
        """Problems as lines to print."""
        return tuple(f"lyrics: {problem}" for problem in self.problems)


def length_of(request: SongRequest, longest: int) -> tuple[float, str]:
    """Seconds of the song, and where the number comes from.

    Args:
        longest: frames of the model's canvas, taken for an instrumental without a length.

    Raises:
        ConfigError: the `[length:]` of the lyrics is no time.
    """
    if request.length_s is not None:
        return request.length_s, "as asked"
    lyrics, _ = parse(request.lyrics)
    if "length" in lyrics.meta:
        minutes, _, seconds = lyrics.meta["length"].rpartition(":")
        try:
            found = 60 * int(minutes or 0) + float(seconds)
        except ValueError as err:
            raise ConfigError(
                f"the lyrics say [length:{lyrics.meta['length']}], which is no time.",
                hint="Write [length:mm:ss.xx], or give --length in seconds.",
            ) from err
        if found > 0:
            return found, "as the lyrics say"
    if lyrics.instrumental:
        return seconds_of(longest), "one canvas of the model"
    last = lyrics.lines[-1]
    phones = phone_counts(Lyrics((last,)), request.language)[0]
    return last.start_s + phones / PHONES_A_SECOND + TAIL_S, "guessed from the last line"


def tell(request: SongRequest, model: SongModel, frames: int, total_s: float) -> Told:
    """Read lyrics and style for a song of this length.

    Args:
        frames: of the canvas.
        total_s: seconds of the song.

    Raises:
        ConfigError: strict, and the lyrics have a problem; a style that is not known.
        DataError: letters without phone rules, or a recording that cannot be read.
    """
    lyrics, found = parse(request.lyrics)
    framed = frame_phones(
        lyrics,
        frames,
        request.alignment or ALIGNMENTS.get(model.config.alignment, "sentence"),
        language=request.language,
        punctuation=model.config.encoder == "mulan",  # the published model read the marks
    )
    guessed = request.alignment is None and model.config.alignment in GUESSED
    problems = (*found, *framed.problems)
    if request.strict:
        refuse(problems)
    encoder = style_encoder(request, model)
    style, audio = _style(request, encoder, model)
    if request.section_styles:
        style = _by_section(request, encoder, lyrics, style, frames)
    negative = encoder.text(request.negative) if request.negative else None
    cond = condition(
        model,
        frames,
        phones=spread_phones(lyrics, frames, request.language) if guessed else framed.ids,
        sections=framed.sections.clamp(max=model.config.net.sections),
        singers=framed.singers.clamp(max=model.config.net.singers),
        style=style,
        total_s=total_s,
    )
    return Told(cond, negative, lyrics, problems, audio)


def style_encoder(request: SongRequest, model: SongModel) -> StyleEncoder:
    """The encoder of the model's styles.

    Raises:
        ConfigError: CLAP or MuLan without its folder; names the option.
    """
    if model.config.encoder == "tagger":
        return open_tagger().style()
    folder = Path(request.style_folder) if request.style_folder else None
    return encoder_for(model.config.encoder, vocabulary=model.vocabulary, folder=folder)


def shifted(lyrics: Lyrics, seconds: float) -> Lyrics:
    """Lyrics with every stamp moved; lines that come to lie before 0 are cut off, sections reach in."""

    def moved(time: float) -> float:
        return max(time + seconds, 0.0)

    lines = tuple(
        replace(
            line,
            start_s=moved(line.start_s),
            words=tuple(
                replace(w, start_s=moved(w.start_s), end_s=None if w.end_s is None else moved(w.end_s))
                for w in line.words
            ),
        )
        for line in lyrics.lines
        if line.start_s + seconds > -1e-6
    )
    events = tuple(
        event if event.start_s is None else replace(event, start_s=moved(event.start_s))
        for event in lyrics.events
    )
    return replace(lyrics, lines=lines, events=events)


def sampling_notes(request: SongRequest, model: SongModel) -> list[str]:
    """What of a request the model cannot follow."""
    notes = []
    if not request.style and not request.style_audio:
        notes.append("no style is asked for: the model chooses one")
    lyrics, _ = parse(request.lyrics)
    tags = {event.name for event in lyrics.events}
    if tags and model.config.net.sections == 0:
        notes.append(f"this model reads no sections or singers: {', '.join(sorted(tags))} have no effect")
    return notes


def _style(
    request: SongRequest, encoder: StyleEncoder, model: SongModel
) -> tuple[Tensor | None, dict[str, str] | None]:
    """Style of words and recording together, and what the recording was."""
    words = encoder.text(request.style) if request.style else None
    if request.style_audio is None:
        return words, None
    path = Path(request.style_audio)
    wave = read_audio(path)
    if model.config.encoder == "tags":
        heard = encoder.text(", ".join(_tags_of(wave, model)))
    else:
        heard = encoder.audio(wave.samples, wave.rate)
    record = {"file": str(path), "sha256": digest(path), "licence": request.style_audio_licence}
    if words is None:
        return heard, record
    return blend([words, heard], [1 - request.style_weight, request.style_weight]), record


def _tags_of(wave: Wave, model: SongModel) -> list[str]:
    """Tags that the tagger hears in a recording, one a field that the model knows."""
    found = open_tagger().classify(wave.samples, wave.rate)
    best = {name: max(chances, key=lambda tag: chances[tag]) for name, chances in found.items()}
    return [tag for name, tag in best.items() if tag in model.vocabulary.get(name, ())]


def _by_section(
    request: SongRequest, encoder: StyleEncoder, lyrics: Lyrics, style: Tensor | None, frames: int
) -> Tensor:
    """A style for each frame, (L, S), from the sections of the lyrics."""
    from core.errors import unknown

    for name in request.section_styles:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    marks: Mapping[int, str] = {
        frame_of(event.start_s): event.name
        for event in lyrics.events
        if event.kind == "section" and event.start_s is not None
    }
    if not marks:
        raise DataError(
            "styles by section need sections in the lyrics.", hint="Mark them: [verse], [chorus], ..."
        )
    plain = torch.zeros(encoder.length) if style is None else style
    parts = [(0, plain)]
    for start, name in sorted(marks.items()):
        words = request.section_styles.get(name)
        part = plain if words is None else encoder.text(words)
        if start >= frames:
            continue
        if start == parts[-1][0]:
            parts.pop()
        parts.append((start, part))
    return along(parts, frames)
