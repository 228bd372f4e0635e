"""What the metrics are worth: rows whose order is known, and a verdict on each metric.

    real              test songs; distances between one half of them and the other
    codec             the same songs through the codec
    lyrics shuffled   real songs against the lyrics of another song
    style shuffled    real songs against the tags of another song; distances to songs of other instruments
    noise             white noise as loud as the songs

A metric is informative when `real` is better than every row that spoils what it measures, with intervals that
do not meet. One that is not is printed as "not informative", and no claim rests on it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from core.errors import DataError
from core.progress import Progress, silent
from domains.music.frames import RATE
from domains.music.metrics.frechet import frechet_of, mel_statistics, own_embeddings
from domains.music.metrics.interval import Estimate
from domains.music.metrics.styles import style_accuracy, style_similarity
from domains.music.metrics.words import Sung, deranged, per_own, timing
from domains.music.recogniser import Recogniser
from domains.music.tagger import Tagger

__all__ = ["METRICS", "RealSong", "Verdict", "as_record", "calibrate", "judge", "verdicts"]


@dataclass(frozen=True)
class RealSong:
    """A song of the test split: mono samples at 22,050 Hz, its words, its tags, the times of its beats, s."""

    samples: Tensor
    sung: Sung
    tags: Mapping[str, str]
    beats: tuple[float, ...] = ()


@dataclass(frozen=True)
class Metric:
    """Name, whether lower is better, and the rows that must be worse than `real`."""

    name: str
    lower: bool
    spoilt: tuple[str, ...]


METRICS = (
    Metric("per_own", True, ("lyrics shuffled", "noise")),
    Metric("timing_s", True, ("lyrics shuffled", "noise")),
    Metric("fad_own", True, ("style shuffled", "noise")),
    Metric("fad_mel", True, ("style shuffled", "noise")),
    Metric("style_accuracy", False, ("style shuffled", "noise")),
    Metric("style_similarity", False, ("style shuffled", "noise")),
)
Rows = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class Verdict:
    """Whether a metric orders the rows, and the row that it fails on."""

    metric: str
    informative: bool
    why: str


def judge(metric: Metric, rows: Rows) -> Verdict:
    """Compare `real` with each spoilt row that was measured."""
    real = rows["real"].get(metric.name)
    if real is None:
        return Verdict(metric.name, False, "not measured")
    for name in metric.spoilt:
        other = rows.get(name, {}).get(metric.name)
        if other is None:
            continue
        apart = real.high < other.low if metric.lower else real.low > other.high
        if not apart:
            return Verdict(metric.name, False, f"real {real} does not part from {name} {other}")
    return Verdict(metric.name, True, "real is better than every spoilt row")


def verdicts(rows: Rows) -> list[Verdict]:
    """The verdict on every metric."""
    return [judge(metric, rows) for metric in METRICS]


def calibrate(
    songs: Sequence[RealSong],
    recogniser: Recogniser,
    tagger: Tagger,
    *,
    through_codec: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, dict[str, Estimate]]:
    """Measure the anchor rows.

    Args:
        songs: of the test split, four or more, of two instruments or more.
        recogniser, tagger: what is judged.
        through_codec: a wave (T,) encoded and decoded, of the same length; the row is left out without it.
        seed: of halves, shuffles, noise and intervals.
        progress: called once a row.

    Returns:
        Estimates by row and metric.

    Raises:
        DataError: too few songs or instruments.
    """
    if len(songs) < 4 or len({song.tags["instrument"] for song in songs}) < 2:
        raise DataError(f"calibration needs 4 songs of 2 instruments or more, got {len(songs)} songs.")
    gen = torch.Generator().manual_seed(seed)
    waves = [song.samples for song in songs]
    sets: dict[str, list[Tensor]] = {"real": waves}
    if through_codec is not None:
        sets["codec"] = [through_codec(wave) for wave in waves]
    sets["noise"] = [wave.square().mean().sqrt() * torch.randn(len(wave), generator=gen) for wave in waves]
    asked = [song.sung for song in songs]
    tags = [song.tags for song in songs]
    others = deranged(asked, seed=seed)
    wrong_tags = _other_tags(tags)
    embeddings = {
        name: (
            [own_embeddings([wave], RATE, tagger) for wave in these],
            [mel_statistics([w], RATE) for w in these],
        )
        for name, these in sets.items()
    }
    order = torch.randperm(len(songs), generator=gen).tolist()
    half, rest = order[: len(order) // 2], order[len(order) // 2 :]
    rows: dict[str, dict[str, Estimate]] = {}
    for i, (name, these) in enumerate(sets.items()):
        heard = [recogniser.hear(wave, RATE) for wave in these]
        rows[name] = {
            "per_own": per_own(heard, asked, seed=seed),
            "timing_s": timing(heard, asked, seed=seed),
            "style_accuracy": style_accuracy(these, RATE, tags, tagger, seed=seed),
            "style_similarity": style_similarity(these, RATE, tags, tagger, seed=seed),
            **_distances(embeddings[name], embeddings["real"], half, rest, seed),
        }
        if name == "real":
            rows["lyrics shuffled"] = {
                "per_own": per_own(heard, others, seed=seed),
                "timing_s": timing(heard, _retimed(others, asked), seed=seed),
            }
            rows["style shuffled"] = {
                "style_accuracy": style_accuracy(these, RATE, wrong_tags, tagger, seed=seed),
                "style_similarity": style_similarity(these, RATE, wrong_tags, tagger, seed=seed),
                **_distances(embeddings["real"], embeddings["real"], *_by_instrument(tags), seed),
            }
        progress("calibrate", i + 1, len(sets))
    return rows


def as_record(rows: Rows) -> dict[str, Any]:
    """Rows and verdicts as JSON."""
    return {
        "rows": {name: {key: asdict(value) for key, value in row.items()} for name, row in rows.items()},
        "verdicts": [asdict(verdict) for verdict in verdicts(rows)],
    }


def _distances(
    found: tuple[list[Tensor], list[Tensor]],
    real: tuple[list[Tensor], list[Tensor]],
    half: Sequence[int],
    rest: Sequence[int],
    seed: int,
) -> dict[str, Estimate]:
    """Distances of the songs `half` from the real songs `rest`, on both embeddings."""
    return {
        name: frechet_of(
            torch.cat([found[i][k] for k in half]), torch.cat([real[i][k] for k in rest]), seed=seed
        ).measured
        for i, name in enumerate(("fad_own", "fad_mel"))
    }


def _by_instrument(tags: Sequence[Mapping[str, str]]) -> tuple[list[int], list[int]]:
    """Songs in two groups that share no instrument; the first takes the most frequent that fit in a half."""
    counts: dict[str, int] = {}
    for one in tags:
        counts[one["instrument"]] = counts.get(one["instrument"], 0) + 1
    left: set[str] = set()
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if sum(counts[one] for one in left) + counts[name] <= len(tags) / 2 or not left:
            left.add(name)
    first = [i for i, one in enumerate(tags) if one["instrument"] in left]
    return first, [i for i in range(len(tags)) if i not in first]


def _other_tags(tags: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """For every song the tags of the next one with another instrument."""
    out = []
    for i, own in enumerate(tags):
        turn = [tags[(i + k) % len(tags)] for k in range(1, len(tags))]
        out.append(next(one for one in turn if one["instrument"] != own["instrument"]))
    return out


def _retimed(others: Sequence[Sung], own: Sequence[Sung]) -> list[Sung]:
    """Words of other songs at the line stamps of a song's own; lines beyond its last stamp join it."""
    out = []
    for other, mine in zip(others, own, strict=True):
        starts = [start for start, _ in mine.lines]
        lines = [labels for _, labels in other.lines]
        last = tuple(label for line in lines[len(starts) - 1 :] for label in line)
        merged = [*lines[: len(starts) - 1], *([last] if last else [])]
        out.append(Sung(tuple(zip(starts, merged, strict=False))))
    return out
