"""The rendered corpus: which songs to make, how they are split, and the folder they are written to.

A song is one verse of one hymn with a voice, a style, a tempo and a transposition drawn from a seed. Songs
are split by hymn, never by verse: of 130 hymns 100 train, 15 validate and 15 test. One voice, and one style
at one range of tempo, are kept out of training altogether.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import ConfigError, DataError
from core.extras import require
from core.progress import Progress, silent
from data.store import is_present
from data.store import path as data_path
from domains.music.frames import RATE
from domains.music.phones.espeak import speak
from domains.music.render.arrange import STYLES, arrange
from domains.music.render.fluid import play
from domains.music.render.harmony import harmonise
from domains.music.render.mix import Stems, mix
from domains.music.render.score import Hymn, perform, read_hymns
from domains.music.render.speech import Speaker, world
from domains.music.render.tunes import embedded_hymns
from domains.music.render.vocoder import sing

__all__ = [
    "TEMPI",
    "VOICES",
    "Plan",
    "Song",
    "check_programs",
    "hymns",
    "plan_songs",
    "read_index",
    "render_corpus",
    "render_song",
    "split_hymns",
]

Split = Literal["train", "validation", "test"]
# espeak-ng variants: name, singer and octaves relative to the score.
VOICES: dict[str, tuple[str, int]] = {
    "en-us+f2": ("female", 0),
    "en-us+f3": ("female", 0),
    "en-us+f4": ("female", 0),
    "en-us": ("male", -1),
    "en-us+m3": ("male", -1),
    "en-us+m7": ("male", -1),
    "en-us+f5": ("female", 0),
}
TEMPI: dict[str, tuple[int, int]] = {"slow": (66, 80), "medium": (90, 106), "fast": (118, 136)}  # bpm
HELD_VOICE = "en-us+f5"
HELD_CELL = ("organ", "fast")
_HELD_SHARE = 1 / 3  # of validation and test songs that use the held-out voice, and as many the cell


@dataclass(frozen=True)
class Plan:
    """What to make of one verse.

    Attributes:
        hymn: name of the hymn.
        verse: index of the verse, from 0.
        voice: espeak-ng voice.
        style: name of the accompaniment.
        tempo: "slow", "medium" or "fast".
        bpm: quarter notes a minute.
        transposition: semitones above the score, apart from the octave of the voice.
        split: "train", "validation" or "test".
    """

    hymn: str
    verse: int
    voice: str
    style: str
    tempo: str
    bpm: int
    transposition: int
    split: Split

    @property
    def name(self) -> str:
        """Name of the song's folder."""
        voice = self.voice.replace("+", "-")
        return f"{self.hymn}-v{self.verse + 1}-{voice}-{self.style}-{self.bpm}-{self.transposition:+d}"


@dataclass(frozen=True)
class Song:
    """A rendered song on disk: its folder, plan, length in seconds and tags."""

    folder: Path
    split: Split
    duration_s: float
    tags: dict[str, str]

    def facts(self) -> dict[str, Any]:
        """Everything in song.json: lines, phones, beats, chords, notes and the plan."""
        return json.loads((self.folder / "song.json").read_text(encoding="utf-8"))


def hymns(scores: Path | None = None) -> tuple[Hymn, ...]:
    """Scores to render: a file given, else the data set `hymns_cc0` where it is installed, else a few tunes.

    Raises:
        DataError: the file given cannot be read.
    """
    if scores is not None:
        return read_hymns(scores)
    if is_present("hymns_cc0"):
        return read_hymns(data_path("hymns_cc0") / "scores" / "hymns_cc0.json")
    return embedded_hymns()


def split_hymns(names: Sequence[str], *, seed: int = 0) -> dict[str, Split]:
    """Share hymns among the splits: 15 of 130 (11.5 %, at least one of three) each for validation and test.

    Args:
        names: all hymns of the collection, in any order.
        seed: of the shuffle.
    """
    order = sorted(names)
    random.Random(seed).shuffle(order)
    held = max(round(len(order) * 15 / 130), 1) if len(order) >= 3 else 0
    splits: dict[str, Split] = {}
    for i, name in enumerate(order):
        splits[name] = "test" if i < held else "validation" if i < 2 * held else "train"
    return splits


def plan_songs(collection: Sequence[Hymn], *, minutes: float, seed: int = 0) -> list[Plan]:
    """Draw songs until their expected length reaches the minutes asked, or every verse is used.

    Every hymn comes once, in a shuffled order, before any comes twice.

    Args:
        collection: the scores.
        minutes: length of the corpus.
        seed: of every draw.

    Raises:
        ConfigError: no minutes are asked for.
    """
    if minutes <= 0:
        raise ConfigError(f"minutes must be positive, got {minutes}.")
    rng = random.Random(seed)
    splits = split_hymns([hymn.name for hymn in collection], seed=seed)
    most = max(len(hymn.verses) for hymn in collection)
    plans: list[Plan] = []
    seconds = 0.0
    for turn in range(most):
        order = list(collection)
        rng.shuffle(order)
        drawn = [
            (hymn, _draw(hymn, turn, splits[hymn.name], rng)) for hymn in order if turn < len(hymn.verses)
        ]
        # Another source than that of the splits, whose shuffle of the same names would bring the tests first.
        random.Random(f"order {seed} {turn}").shuffle(drawn)
        for hymn, plan in drawn:
            quarters = sum(length for _, length, _ in hymn.notes) + 2 * hymn.beats_per_bar
            seconds += quarters * 60 / plan.bpm
            plans.append(plan)
            if seconds >= 60 * minutes:
                return plans
    return plans


def _draw(hymn: Hymn, verse: int, split: Split, rng: random.Random) -> Plan:
    """Draw voice, style, tempo and transposition; training never meets what is held out."""
    voices = [voice for voice in VOICES if voice != HELD_VOICE]
    cells = [(style, tempo) for style in STYLES for tempo in TEMPI if (style, tempo) != HELD_CELL]
    voice, (style, tempo) = rng.choice(voices), rng.choice(cells)
    if split != "train":
        u = rng.random()
        if u < _HELD_SHARE:
            voice = HELD_VOICE
        elif u < 2 * _HELD_SHARE:
            style, tempo = HELD_CELL
    bpm = rng.randrange(*TEMPI[tempo], 2)
    return Plan(hymn.name, verse, voice, style, tempo, bpm, rng.randint(-3, 3), split)


@cache
def _speaker(voice: str) -> Speaker:
    return Speaker(voice)


def render_song(hymn: Hymn, plan: Plan) -> tuple[Stems, dict[str, Any]]:
    """Render one song.

    Returns:
        The stems, and the facts of song.json: phones as (start s, end s, IPA), lines, beats, chords, notes
        and tags.

    Raises:
        ConfigError: no such voice or style.
        MissingExtra: espeak-ng, pyworld, FluidSynth or a sound font is absent.
    """
    if plan.voice not in VOICES:
        raise ConfigError(f"no voice '{plan.voice}' (known: {', '.join(VOICES)}).")
    sex, octave = VOICES[plan.voice]
    score = perform(hymn, plan.verse, bpm=plan.bpm, transposition=plan.transposition, octave=octave)
    chords = harmonise(score)
    singing = sing(score, _speaker(plan.voice))
    backing = play(arrange(score, chords, plan.style), score.duration_s)
    stems = mix(singing.samples, backing)
    facts = {
        **asdict(plan),
        "title": hymn.title,
        "rate": RATE,
        "duration_s": len(stems.mix) / RATE,
        "key": {"tonic": score.tonic, "mode": score.mode},
        "tags": {"instrument": plan.style, "tempo": plan.tempo, "mode": score.mode, "voice": sex},
        "lines": [{"start_s": round(line.start_s, 4), "text": line.text} for line in score.lines],
        "phones": [[round(p.start_s, 4), round(p.end_s, 4), p.ipa] for p in singing.phones],
        "notes": [[round(n.start_s, 4), round(n.end_s, 4), n.pitch] for n in score.notes],
        "beats": [round(beat, 4) for beat in score.beats],
        "bars": [round(bar, 4) for bar in score.bars],
        "chords": [[round(c.start_s, 4), round(c.end_s, 4), c.root, c.quality] for c in chords],
    }
    return stems, facts


def check_programs() -> None:
    """See that everything that renders is there, in less than a second.

    Raises:
        MissingExtra: espeak-ng, pyworld, FluidSynth, a sound font or soundfile is absent.
    """
    speak("a", "en-us")
    world()
    play([], 0.01)
    require("soundfile", extra="music")


def render_corpus(
    folder: Path,
    *,
    minutes: float = 90.0,
    scores: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Song]:
    """Render a corpus, or go on with one: songs whose folder is complete are kept.

    Args:
        folder: where songs and `index.jsonl` go.
        minutes: length asked for.
        scores: a collection of hymns in JSON; by default the installed one, or the embedded tunes.
        seed: of every draw.
        progress: called once a song.

    Raises:
        ConfigError: no minutes are asked for.
        DataError: the scores cannot be read.
        MissingExtra: espeak-ng, pyworld, FluidSynth, a sound font or soundfile is absent.
    """
    check_programs()
    collection = {hymn.name: hymn for hymn in hymns(scores)}
    plans = plan_songs(list(collection.values()), minutes=minutes, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "index.jsonl"
    done = {song.folder.name for song in read_index(folder)} if index.exists() else set()
    with index.open("a", encoding="utf-8") as lines:
        for i, plan in enumerate(plans):
            if plan.name not in done:
                stems, facts = render_song(collection[plan.hymn], plan)
                _write(folder / plan.name, stems, facts)
                row = {"id": plan.name, **{key: facts[key] for key in ("split", "duration_s", "tags")}}
                lines.write(json.dumps(row) + "\n")
                lines.flush()
            progress("songs", i + 1, len(plans))
    return read_index(folder)


def read_index(folder: Path) -> list[Song]:
    """Songs of a corpus, in the order they were rendered.

    Raises:
        DataError: the folder has no readable index.
    """
    index = folder / "index.jsonl"
    try:
        rows = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines() if line]
        return [Song(folder / row["id"], row["split"], row["duration_s"], row["tags"]) for row in rows]
    except (OSError, json.JSONDecodeError, KeyError) as err:
        raise DataError(
            f"{folder} has no readable index.jsonl ({type(err).__name__}).",
            hint="Make a corpus with: suffuse music data render",
        ) from err


def _write(folder: Path, stems: Stems, facts: dict[str, Any]) -> None:
    """Write one song's folder; song.json comes last, so that a folder without it is incomplete."""
    soundfile = require("soundfile", extra="music")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("mix", "voice", "backing"):
        samples: np.ndarray = getattr(stems, name)
        soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16")
    stamps = [f"[ti:{facts['title']}]"]
    stamps += [f"[{_stamp(line['start_s'])}]{line['text']}" for line in facts["lines"]]
    (folder / "song.lrc").write_text("\n".join(stamps) + "\n", encoding="utf-8")
    (folder / "song.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def _stamp(seconds: float) -> str:
    """Seconds as mm:ss.xx, rounded to hundredths."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
