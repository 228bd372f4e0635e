"""Calibration: metrics measured on rows whose order is known, before a recogniser or tagger judges anything.

`calibrate_file` records the rows, which metrics are informative, and the hashes of both networks; whatever
lets a network judge songs reads that record first (`calibration_of`) and refuses those that it does not name.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import read_audio
from domains.music.codec import chunked
from domains.music.frames import RATE
from domains.music.metrics.calibration import RealSong, as_record, calibrate
from domains.music.metrics.interval import Estimate
from domains.music.metrics.words import sung_of_song
from domains.music.render.corpus import read_index
from domains.music.weights import shipped
from domains.music.workflows.opening import digest, find, open_codec, open_recogniser, open_tagger

__all__ = ["anchors", "calibrate_file", "calibration_of", "informative", "real_songs", "table", "through"]

CALIBRATION = "calibration.json"
HINT = "Run it first: suffuse music calibrate CORPUS -o runs/music-calibration."


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
    real = real_songs(corpus, songs)
    plan = f"calibrate {files['recogniser']} and {files['tagger']} on {len(real)} test songs of {corpus}"
    ready(Outlook((plan, "rows: real, codec, shuffled lyrics, shuffled style, noise")))
    rows = calibrate(
        real,
        ear,
        judge,
        through_codec=None if coder is None else through(coder),
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
        "rows": table(rows),
        "verdicts": record["verdicts"],
    }


def real_songs(corpus: Path, most: int) -> list[RealSong]:
    """Songs of the test split."""
    found = [song for song in read_index(corpus) if song.split == "test"][:most]
    if not found:
        raise DataError(f"{corpus} has no test song.", hint="Render more minutes.")
    songs = []
    for song in found:
        facts = song.facts()
        samples = read_audio(song.folder / "mix.flac", RATE, channels=1).samples[0]
        songs.append(RealSong(samples, sung_of_song(facts), song.tags, tuple(facts.get("beats", ()))))
    return songs


def through(coder: Any) -> Callable[[Tensor], Tensor]:
    """A wave (T,) encoded and decoded."""

    def passed(wave: Tensor) -> Tensor:
        with torch.no_grad():
            law = chunked.encode(coder, wave[None, None])
            return chunked.decode(coder, law.mean)[0, 0, : len(wave)]

    return passed


def calibration_of(path: Path | None, networks: Mapping[str, Path]) -> dict[str, Any]:
    """The record of a calibration of these networks.

    Raises:
        ConfigError: there is none, or it is of others.
    """
    place = shipped("recogniser") if path is None else path
    file = place / CALIBRATION if place.is_dir() or path is None else place
    try:
        record: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as err:
        raise ConfigError("the recogniser and the tagger have not been calibrated.", hint=HINT) from err
    for name, own in networks.items():
        if record.get("networks", {}).get(name) != digest(own):
            raise ConfigError(f"{file} calibrates another {name} than {own}.", hint=HINT)
    return record


def informative(record: Mapping[str, Any], metric: str, network: str) -> None:
    """Refuse to judge by a metric that did not part the rows of a calibration.

    Raises:
        ConfigError: it did not; says on which rows.
    """
    found = next((v for v in record["verdicts"] if v["metric"] == metric), None)
    if found is None or not found["informative"]:
        why = "it was not measured" if found is None else found["why"]
        raise ConfigError(
            f"the {network} judges nothing: its {metric} is not informative ({why}).",
            hint="Train it longer and calibrate it again.",
        )


def table(rows: Mapping[str, Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """Rows with one text cell a metric: value, interval, n."""
    return [{"row": name, **{key: str(value) for key, value in row.items()}} for name, row in rows.items()]


def anchors(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return table(
        {name: {key: Estimate(**value) for key, value in row.items()} for name, row in record["rows"].items()}
    )
