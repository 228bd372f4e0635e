"""What songs are worth: metrics calibrated on real songs first, then read of generated ones beside the
anchors.

A recogniser or tagger judges nothing before it has been calibrated: `calibrate_file` measures rows whose
order is known and records the hashes of both networks, and `evaluate_songs` refuses networks that no
calibration names.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import read_audio
from domains.music.codec import chunked
from domains.music.codec.augment import lossy as through_mp3
from domains.music.frames import RATE
from domains.music.lrc.parse import parse
from domains.music.metrics.calibration import RealSong, as_record, calibrate
from domains.music.metrics.frechet import frechet_of, mel_statistics, own_embeddings
from domains.music.metrics.interval import Estimate, bootstrap
from domains.music.metrics.reconstruction import reconstruction
from domains.music.metrics.steadiness import in_key_share, tempo_spread
from domains.music.metrics.styles import style_accuracy, style_similarity
from domains.music.metrics.words import deranged, per_own, sung_of_lyrics, sung_of_song, timing
from domains.music.render.corpus import read_index
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.tagger import Tagger
from domains.music.weights import shipped
from domains.music.workflows.opening import digest, find, open_codec, open_recogniser, open_tagger

__all__ = ["calibrate_file", "evaluate_codec", "evaluate_control", "evaluate_songs"]

CALIBRATION = "calibration.json"
FEWEST_CLIPS = 6  # of a distance


def calibrate_file(
    corpus: Path,
    folder: Path,
    *,
    recogniser: str = "recogniser",
    tagger: str = "tagger",
    codec: str | None = "codec",
    songs: int = 24,
    seed: int = 0,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure every metric on rows whose order is known, and say which metrics are informative.

    Args:
        corpus: songs of its test split are the real ones.
        folder: receives `calibration.json`, which `evaluate_songs` asks for.
        codec: whose reconstruction is a row; None leaves it out.
        songs: at most.

    Raises:
        DataError: fewer than 4 test songs, or of fewer than 2 instruments.
    """
    files = {"recogniser": find(recogniser), "tagger": find(tagger)}
    ear, judge = open_recogniser(recogniser), open_tagger(tagger)
    coder = open_codec(codec)[0] if codec is not None else None
    real = _real(corpus, songs)
    plan = f"calibrate {files['recogniser']} and {files['tagger']} on {len(real)} test songs of {corpus}"
    ready(Outlook((plan, "rows: real, codec, shuffled lyrics, shuffled style, noise")))
    rows = calibrate(
        real,
        ear,
        judge,
        through_codec=None if coder is None else _through(coder),
        seed=seed,
        progress=progress,
    )
    record = {
        **as_record(rows),
        "songs": len(real),
        "seed": seed,
        "corpus": str(corpus),
        "networks": {name: digest(path) for name, path in files.items()},
    }
    (folder / CALIBRATION).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return {
        "calibration": str(folder / CALIBRATION),
        "songs": len(real),
        "rows": _table(rows),
        "verdicts": record["verdicts"],
    }


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
    known = _calibration(calibration, {"recogniser": find(recogniser), "tagger": find(tagger)})
    ear, judge = open_recogniser(recogniser), open_tagger(tagger)
    records = [read_sidecar(sidecar_path(path)) for path in songs]
    waves = [read_audio(path, RATE, channels=1).samples[0] for path in songs]
    asked = [sung_of_lyrics(parse(record["request"]["lyrics"])[0]) for record in records]
    tags = [_tags(record["request"].get("style", ""), judge) for record in records]
    real = _real(corpus, most)
    ready(Outlook((f"score {len(songs)} songs against {len(real)} test songs of {corpus}",)))
    row: dict[str, Estimate] = {}
    notes: list[str] = []
    sung = [i for i, words in enumerate(asked) if words.labels]
    progress("score", 0, 4)
    rows: dict[str, dict[str, Estimate]] = {}
    if sung:
        heard = [ear.hear(waves[i], RATE) for i in sung]
        words = [asked[i] for i in sung]
        row |= {"per_own": per_own(heard, words, seed=seed), "timing_s": timing(heard, words, seed=seed)}
        if len(sung) > 1:
            rows["generated, other lyrics"] = {
                "per_own": per_own(heard, deranged(words, seed=seed), seed=seed)
            }
    else:
        notes.append("no song has lyrics: words are not scored")
    progress("score", 1, 4)
    named = [i for i, found in enumerate(tags) if "instrument" in found]
    if named:
        own = [waves[i] for i in named], RATE, [tags[i] for i in named]
        row["style_accuracy"] = style_accuracy(*own, judge, seed=seed)
        row["style_similarity"] = style_similarity(*own, judge, seed=seed)
    else:
        notes.append("no song asks for an instrument: style is not scored")
    progress("score", 2, 4)
    for name, embed in _embeddings(judge).items():
        made, true = embed(waves), embed([song.samples for song in real])
        if min(len(made), len(true)) < FEWEST_CLIPS:
            notes.append(f"{name} needs {FEWEST_CLIPS} clips of 8 s or more, got {len(made)} and {len(true)}")
            continue
        row[name] = frechet_of(made, true, seed=seed).measured
    progress("score", 3, 4)
    row["key_share"] = bootstrap([in_key_share(wave[None], RATE) for wave in waves], seed=seed)
    long = [wave for wave in waves if len(wave) >= 20 * RATE]
    if long:
        row["tempo_spread"] = bootstrap([tempo_spread(wave[None], RATE) for wave in long], seed=seed)
    progress("score", 4, 4)
    doubtful = [
        f"{v['metric']}: not informative ({v['why']})" for v in known["verdicts"] if not v["informative"]
    ]
    return {
        "songs": len(songs),
        "real_songs": len(real),
        "rows": _anchors(known) + _table({"generated": row, **rows}),
        "real_time_factor": bootstrap([record["real_time_factor"] for record in records], seed=seed).value,
        "nfe": sorted({record["nfe"] for record in records}),
        "warnings": notes + doubtful,
    }


def evaluate_codec(
    recordings: Sequence[Path],
    *,
    codec: str | None = None,
    stoi: bool = True,
    seed: int = 0,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """What a codec makes of recordings, and of the same after MP3 of the lowest quality."""
    coder, file = open_codec(codec)
    waves = [read_audio(path, coder.rate, channels=1) for path in recordings]
    ready(Outlook((f"reconstruct {len(waves)} recordings with {file}",)))
    through = _through(coder)
    found: dict[str, list[Any]] = {"lossless in": [], "MP3 in": [], "MP3 alone": []}
    for number, wave in enumerate(waves):
        x = wave.samples[0]
        lossy = through_mp3(x[None], coder.rate, 0.99)[0, : len(x)]
        made = {"lossless in": through(x), "MP3 in": through(lossy), "MP3 alone": lossy}
        for name, y in made.items():
            found[name].append(reconstruction(y, x, coder.rate, stoi=stoi))
        progress("reconstruct", number + 1, len(waves))
    rows = []
    for name, parts in found.items():
        row: dict[str, Any] = {"row": name}
        for key in asdict(parts[0]):
            values = [getattr(part, key) for part in parts if getattr(part, key) is not None]
            if values:
                row[key] = str(bootstrap(values, seed=seed))
        rows.append(row)
    return {"codec": str(file), "recordings": len(waves), "rows": rows}


def evaluate_control(songs: Sequence[Path], *, seed: int = 0) -> dict[str, Any]:
    """Figures of controlled songs before and after, from their sidecars, with intervals over songs.

    Raises:
        DataError: a song that was not controlled.
    """
    before: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for path in songs:
        control = read_sidecar(sidecar_path(path)).get("control")
        if not control:
            raise DataError(f"{path} was not controlled.", hint="Make songs with: suffuse music control.")
        for name in control["saved_before"]:
            before.setdefault(name, []).append(control["saved_before"][name])
            after.setdefault(name, []).append(control["saved_after"][name])
    rows = [
        {
            "figure": name,
            "uncontrolled": str(bootstrap(before[name], seed=seed)),
            "controlled": str(bootstrap(after[name], seed=seed)),
        }
        for name in before
    ]
    return {"songs": len(songs), "rows": rows}


def _real(corpus: Path, most: int) -> list[RealSong]:
    """Songs of the test split."""
    found = [song for song in read_index(corpus) if song.split == "test"][:most]
    if not found:
        raise DataError(f"{corpus} has no test song.", hint="Render more minutes.")
    return [
        RealSong(
            read_audio(song.folder / "mix.flac", RATE, channels=1).samples[0],
            sung_of_song(song.facts()),
            song.tags,
        )
        for song in found
    ]


def _through(coder: Any) -> Callable[[Tensor], Tensor]:
    """A wave (T,) encoded and decoded."""

    def through(wave: Tensor) -> Tensor:
        with torch.no_grad():
            law = chunked.encode(coder, wave[None, None])
            return chunked.decode(coder, law.mean)[0, 0, : len(wave)]

    return through


def _embeddings(judge: Tagger) -> dict[str, Callable[[Sequence[Tensor]], Tensor]]:
    return {
        "fad_own": lambda waves: own_embeddings(waves, RATE, judge),
        "fad_mel": lambda waves: mel_statistics(waves, RATE),
    }


def _tags(style: str, judge: Tagger) -> dict[str, str]:
    """Style words as tags of the tagger, by field; other words are passed over."""
    fields = {tag: name for name, tags in judge.settings.vocabulary.items() for tag in tags}
    words = [word.strip().lower() for word in style.split(",")]
    return {fields[word]: word for word in words if word in fields}


def _calibration(path: Path | None, networks: Mapping[str, Path]) -> dict[str, Any]:
    """The record of a calibration of these networks.

    Raises:
        ConfigError: there is none, or it is of others.
    """
    place = shipped("recogniser") if path is None else path
    file = place / CALIBRATION if place.is_dir() or path is None else place
    hint = "Run it first: suffuse music calibrate CORPUS -o runs/music-calibration."
    try:
        record: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as err:
        raise ConfigError("the recogniser and the tagger have not been calibrated.", hint=hint) from err
    for name, own in networks.items():
        if record.get("networks", {}).get(name) != digest(own):
            raise ConfigError(f"{file} calibrates another {name} than {own}.", hint=hint)
    return record


def _table(rows: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """Rows with one text cell a metric: value, interval, n."""
    return [{"row": name, **{key: str(value) for key, value in row.items()}} for name, row in rows.items()]


def _anchors(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _table(
        {name: {key: Estimate(**value) for key, value in row.items()} for name, row in record["rows"].items()}
    )
