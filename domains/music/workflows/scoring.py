"""What generated songs are worth, beside the rows of a calibration; see `calibrating`.

A network says nothing about songs that it chose itself: what a noise search looked for is left out of the
rows, song by song, and that is said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import read_audio
from domains.music.frames import RATE
from domains.music.lrc.parse import parse
from domains.music.metrics.beats import beat_rows, track_beats
from domains.music.metrics.calibration import RealSong
from domains.music.metrics.frechet import frechet_of, mel_statistics, own_embeddings
from domains.music.metrics.interval import Estimate, bootstrap
from domains.music.metrics.steadiness import in_key_share, tempo_spread
from domains.music.metrics.styles import style_accuracy, style_similarity, tags_of
from domains.music.metrics.words import Sung, deranged, per_own, sung_of_lyrics, timing
from domains.music.recogniser import Recogniser
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.tagger import Tagger
from domains.music.verifiers import chosen_by
from domains.music.workflows.calibrating import anchors, calibration_of, real_songs, table
from domains.music.workflows.opening import digest, find, open_recogniser, open_tagger

__all__ = ["evaluate_songs"]

FEWEST_CLIPS = 6  # of a distance
Rows = dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Heard:
    """A generated song: its sidecar, samples at 22,050 Hz, what was asked, and the networks that chose it."""

    record: Mapping[str, Any]
    wave: Tensor
    sung: Sung
    tags: dict[str, str]
    beats: NDArray[np.float64]
    chosen: frozenset[str]


@dataclass
class Card:
    """The rows of a report as they are filled, and what has to be said of them."""

    seed: int
    rows: Rows = field(default_factory=lambda: {"generated": {}})
    notes: list[str] = field(default_factory=list)

    @property
    def own(self) -> dict[str, Estimate]:
        """The row of the songs themselves."""
        return self.rows["generated"]


def evaluate_songs(
    songs: Sequence[Path],
    corpus: Path,
    *,
    recogniser: str = "recogniser",
    tagger: str = "tagger",
    calibration: Path | None = None,
    most: int = 24,
    seed: int = 0,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score generated songs against what their sidecars asked for and against real test songs.

    Args:
        songs: files with sidecars beside them.
        corpus: songs of its test split are the reference of distances.
        calibration: file or folder of `calibrate_file`; that of the shipped networks when None.

    Returns:
        Report: rows of the calibration, and the row "generated"; metrics that are not informative are named.

    Raises:
        ConfigError: no calibration, or one of other networks.
        DataError: a song without a sidecar.
    """
    files = {"recogniser": find(recogniser), "tagger": find(tagger)}
    known = calibration_of(calibration, files)
    ear, judge = open_recogniser(recogniser), open_tagger(tagger)
    networks = {name: digest(path) for name, path in files.items()}
    made = [_heard(path, judge, networks) for path in songs]
    real = real_songs(corpus, most)
    ready(Outlook((f"score {len(songs)} songs against {len(real)} test songs of {corpus}",)))
    card = Card(seed)
    parts: tuple[Callable[[], None], ...] = (
        lambda: _score_words(card, made, ear),
        lambda: _score_style(card, made, judge),
        lambda: _score_distances(card, made, real, judge),
        lambda: _score_music(card, made),
        lambda: _score_beats(card, made, real),
    )
    for number, part in enumerate(parts):
        part()
        progress("score", number + 1, len(parts))
    doubtful = [
        f"{v['metric']}: not informative ({v['why']})" for v in known["verdicts"] if not v["informative"]
    ]
    factors = [song.record["real_time_factor"] for song in made]
    return {
        "songs": len(songs),
        "real_songs": len(real),
        "rows": anchors(known) + table(card.rows),
        "real_time_factor": bootstrap(factors, seed=seed).value,
        "nfe": sorted({song.record["nfe"] for song in made}),
        "warnings": card.notes + doubtful,
    }


def _heard(path: Path, judge: Tagger, networks: Mapping[str, str]) -> Heard:
    record = read_sidecar(sidecar_path(path))
    request = record["request"]
    wave = read_audio(path, RATE, channels=1).samples[0]
    lyrics = parse(request.get("lyrics", ""))[0]
    return Heard(
        record,
        wave,
        sung_of_lyrics(lyrics, request.get("language", "en")),
        tags_of(request.get("style", ""), judge),
        _asked_beats(lyrics.meta.get("bpm"), len(wave) / RATE),
        frozenset(name for name, value in networks.items() if chosen_by(record, name, value)),
    )


def _asked_beats(bpm: str | None, seconds: float) -> NDArray[np.float64]:
    """Beats from 0 s on at the [bpm:] of the lyrics, as drafted lyrics have them; else none."""
    try:
        tempo = float(bpm or "nan")
    except ValueError:
        return np.zeros(0)
    return np.arange(0, seconds, 60 / tempo) if 20 <= tempo <= 300 else np.zeros(0)


def _free(card: Card, made: Sequence[Heard], network: str, what: str) -> list[Heard]:
    """Songs that a network did not choose; says how many it did."""
    free = [song for song in made if network not in song.chosen]
    if len(free) < len(made):
        count = len(made) - len(free)
        card.notes.append(f"the {network} chose {count} of {len(made)} songs: their {what} are not scored")
    return free


def _score_words(card: Card, made: Sequence[Heard], ear: Recogniser) -> None:
    sung = [song for song in _free(card, made, "recogniser", "words") if song.sung.labels]
    if not sung:
        card.notes.append("no song has lyrics to score: words are not scored")
        return
    heard, words = [ear.hear(song.wave, RATE) for song in sung], [song.sung for song in sung]
    card.own["per_own"] = per_own(heard, words, seed=card.seed)
    card.own["timing_s"] = timing(heard, words, seed=card.seed)
    if len(sung) > 1:
        other = per_own(heard, deranged(words, seed=card.seed), seed=card.seed)
        card.rows["generated, other lyrics"] = {"per_own": other}


def _score_style(card: Card, made: Sequence[Heard], judge: Tagger) -> None:
    free = _free(card, made, "tagger", "tags and FAD-own")
    named = [song for song in free if "instrument" in song.tags]
    if not named:
        card.notes.append("no song asks for an instrument to score: style is not scored")
        return
    waves, tags = [song.wave for song in named], [song.tags for song in named]
    card.own["style_accuracy"] = style_accuracy(waves, RATE, tags, judge, seed=card.seed)
    card.own["style_similarity"] = style_similarity(waves, RATE, tags, judge, seed=card.seed)


def _score_distances(card: Card, made: Sequence[Heard], real: Sequence[RealSong], judge: Tagger) -> None:
    free = [song for song in made if "tagger" not in song.chosen]
    embeddings: dict[str, tuple[Sequence[Heard], Callable[[Sequence[Tensor]], Tensor]]] = {
        "fad_own": (free, lambda waves: own_embeddings(waves, RATE, judge)),
        "fad_mel": (made, lambda waves: mel_statistics(waves, RATE)),
    }
    for name, (songs, embed) in embeddings.items():
        if not songs:
            continue
        found, true = embed([song.wave for song in songs]), embed([song.samples for song in real])
        if min(len(found), len(true)) < FEWEST_CLIPS:
            few = f"{name} needs {FEWEST_CLIPS} clips of 8 s or more, got {len(found)} and {len(true)}"
            card.notes.append(few)
            continue
        card.own[name] = frechet_of(found, true, seed=card.seed).measured


def _score_music(card: Card, made: Sequence[Heard]) -> None:
    keys = [in_key_share(song.wave[None], RATE) for song in made]
    card.own["key_share"] = bootstrap(keys, seed=card.seed)
    long = [song.wave for song in made if len(song.wave) >= 20 * RATE]
    if long:
        spreads = [tempo_spread(wave[None], RATE) for wave in long]
        card.own["tempo_spread"] = bootstrap(spreads, seed=card.seed)


def _score_beats(card: Card, made: Sequence[Heard], real: Sequence[RealSong]) -> None:
    """Beats against those of the lyrics' tempo; the tracker is read beside songs whose beats are known."""
    asked = [song for song in made if len(song.beats)]
    if not asked:
        card.notes.append("no lyrics say a tempo, [bpm:...]: beats are not scored")
        return
    found = [track_beats(song.wave, RATE) for song in asked]
    card.own.update(beat_rows(found, [song.beats for song in asked], seed=card.seed))
    known = [song for song in real if song.beats]
    if len(known) < 2:
        return
    heard = [track_beats(song.samples, RATE) for song in known]
    true = [np.array(song.beats) for song in known]
    card.rows["real, own beats"] = beat_rows(heard, true, seed=card.seed)
    card.rows["real, beats of another"] = beat_rows(heard, [*true[1:], true[0]], seed=card.seed)
    own, other = card.rows["real, own beats"], card.rows["real, beats of another"]
    for name in own:
        if own[name].low <= other[name].high:
            why = f"real {own[name]} does not part from the beats of another {other[name]}"
            card.notes.append(f"{name}: not informative ({why})")
