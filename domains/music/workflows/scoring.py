"""What generated songs are worth, beside the rows of a calibration; see `calibrating`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.music.audio import read_audio
from domains.music.frames import RATE
from domains.music.lrc.parse import parse
from domains.music.metrics.frechet import frechet_of, mel_statistics, own_embeddings
from domains.music.metrics.interval import Estimate, bootstrap
from domains.music.metrics.steadiness import in_key_share, tempo_spread
from domains.music.metrics.styles import style_accuracy, style_similarity
from domains.music.metrics.words import deranged, per_own, sung_of_lyrics, timing
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.tagger import Tagger
from domains.music.workflows.calibrating import anchors, calibration_of, real_songs, table
from domains.music.workflows.opening import find, open_recogniser, open_tagger

__all__ = ["evaluate_songs", "tags_of"]

FEWEST_CLIPS = 6  # of a distance


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
    known = calibration_of(calibration, {"recogniser": find(recogniser), "tagger": find(tagger)})
    ear, judge = open_recogniser(recogniser), open_tagger(tagger)
    records = [read_sidecar(sidecar_path(path)) for path in songs]
    waves = [read_audio(path, RATE, channels=1).samples[0] for path in songs]
    asked = [sung_of_lyrics(parse(record["request"]["lyrics"])[0]) for record in records]
    tags = [tags_of(record["request"].get("style", ""), judge) for record in records]
    real = real_songs(corpus, most)
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
        "rows": anchors(known) + table({"generated": row, **rows}),
        "real_time_factor": bootstrap([record["real_time_factor"] for record in records], seed=seed).value,
        "nfe": sorted({record["nfe"] for record in records}),
        "warnings": notes + doubtful,
    }


def _embeddings(judge: Tagger) -> dict[str, Callable[[Sequence[Tensor]], Tensor]]:
    return {
        "fad_own": lambda waves: own_embeddings(waves, RATE, judge),
        "fad_mel": lambda waves: mel_statistics(waves, RATE),
    }


def tags_of(style: str, judge: Tagger) -> dict[str, str]:
    """Style words as tags of the tagger, by field; other words are passed over."""
    fields = {tag: name for name, tags in judge.settings.vocabulary.items() for tag in tags}
    words = [word.strip().lower() for word in style.split(",")]
    return {fields[word]: word for word in words if word in fields}
