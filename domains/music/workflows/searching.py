"""Noise search of a composed song: which ears may judge it, what they are asked, what every candidate scored.

An ear judges only where a calibration names it and found its metric informative. What a song was chosen by
says nothing about the song any more: one that was searched for words must not be reported by its phone
errors, nor one that was searched for style by the tagger. The sidecar names both, and `evaluate` leaves these
figures out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import CheckpointError, ConfigError, unknown
from core.infer.search import Found, Search, Verifier
from core.progress import Progress
from domains.music.config import Sampling
from domains.music.frames import frames_of, seconds_of
from domains.music.generation import Composed, Judges, compose, runs_budget, search_noise
from domains.music.metrics.styles import tags_of
from domains.music.metrics.words import Sung, sung_of_lyrics
from domains.music.model import SongModel
from domains.music.recogniser import Recogniser
from domains.music.request import NoiseSearch, SongRequest
from domains.music.tagger import Tagger
from domains.music.verifiers import EARS, Mixes, Style, Words, slots
from domains.music.workflows.calibrating import calibration_of, informative
from domains.music.workflows.opening import Opened, digest, find, open_recogniser, open_tagger
from domains.music.workflows.telling import Told

__all__ = ["Hunt", "check_ears", "hunt_for", "searched"]

SHORTEST_S = 1.0


@dataclass(frozen=True)
class Hunt:
    """A search that can begin.

    Attributes:
        names: verifiers that are searched on.
        second: one that is reported alone, or None.
        networks: hash of each network that listens.
    """

    settings: Search
    names: tuple[str, ...]
    second: str | None
    networks: Mapping[str, str]
    ear: Recogniser | None
    tagger: Tagger | None
    sung: Sung
    tags: dict[str, str]
    opened: Opened

    @property
    def heard(self) -> tuple[str, ...]:
        """All verifiers that listen."""
        return (*self.names, self.second) if self.second else self.names

    def judges(self, first: int, end: int) -> Judges:
        """Verifiers of the latents of a part of the song, frames `first` to `end`."""
        mixes = Mixes(self.opened.codec, self.opened.model.net.stems)

        def of(name: str) -> Verifier:
            if name == "style":
                assert self.tagger is not None
                return Style(mixes, self.tagger, self.tags, self.opened.model.rate)
            assert self.ear is not None
            lines = slots(self.sung, seconds_of(first), seconds_of(end))
            return Words(mixes, self.ear, lines, self.opened.model.rate)

        return [of(name) for name in self.names], None if self.second is None else of(self.second)

    def scores(self, latents: Tensor) -> dict[str, float]:
        """What every ear says of a whole song, (1, C, L)."""
        verifiers, second = self.judges(0, latents.shape[-1])
        ears = [*verifiers, *([second] if second else [])]
        return {name: round(float(ear(latents)[0]), 5) for name, ear in zip(self.heard, ears, strict=True)}

    def plan(self) -> str:
        """What is about to happen, in a line."""
        also = f"; {self.second} is reported alone" if self.second else ""
        return (
            f"{self.settings.method} search for {' and '.join(self.names)}: {self.settings.budget} "
            f"evaluations of the guided model a tile{also}; do not report the song by what chose it"
        )


def hunt_for(request: SongRequest, opened: Opened, told: Told, frames: int) -> Hunt | None:
    """Check a search and open its ears; None where none is asked for.

    Raises:
        ConfigError: not for this command, an unknown method or verifier, nothing to listen for, an ear that
            was not calibrated or whose metric is not informative, or a budget below one run.
    """
    asked = request.search
    if asked is None:
        return None
    if request.operation != "compose":
        raise ConfigError(f"noise is searched for new songs, not by {request.operation}.")
    if frames < frames_of(SHORTEST_S):
        raise ConfigError(
            f"a search listens to {SHORTEST_S:g} s of song or more.", hint="Ask for a longer one."
        )
    sampling = request.settings(opened.model.config.sampling)
    settings = _settings(asked, opened.model, sampling)
    sung = sung_of_lyrics(told.lyrics, request.language)
    files = {name: find(getattr(asked, name)) for name in ("recogniser", "tagger")}
    tagger = open_tagger(asked.tagger) if request.style else None
    tags = tags_of(request.style, tagger) if tagger is not None else {}
    able = tuple(name for name, there in (("words", sung.lines), ("style", tags)) if there)
    names = asked.verifiers or able
    if not names:
        raise ConfigError(
            "a search has nothing to listen for: neither words nor tags that the tagger knows.",
            hint="Give --lrc or --hymn, or --style with an instrument, voice, tempo or mode.",
        )
    for name in (*names, *([asked.second] if asked.second else [])):
        _check(name, able)
        network, metric = EARS[name]
        informative(_record(asked, {network: files[network]}), metric, network)
    second = asked.second or next(
        (name for name in able if name not in names and _fit(name, asked, files)), None
    )
    heard = {EARS[name][0] for name in (*names, *([second] if second else []))}
    return Hunt(
        settings,
        names,
        second,
        {name: digest(files[name]) for name in sorted(heard)},
        open_recogniser(asked.recogniser) if "recogniser" in heard else None,
        tagger,
        sung,
        tags,
        opened,
    )


def searched(
    hunt: Hunt,
    request: SongRequest,
    told: Told,
    frames: int,
    sampling: Sampling,
    overlap: int | None,
    progress: Progress,
) -> tuple[Composed, dict[str, Any]]:
    """Search the noise of a song; what was made, and the record for report and sidecar."""
    from core.state import Seeds

    model = hunt.opened.model
    found = search_noise(
        model,
        told.cond,
        frames,
        request.seed,
        hunt.settings,
        hunt.judges,
        sampling=sampling,
        negative=told.negative,
        overlap=overlap,
        progress=progress,
    )
    extra, first = 0, _of_first(hunt, found.found)
    if found.tiles > 1 or hunt.settings.method == "paths":  # no candidate is the song without a search
        seeds = Seeds([request.seed], model.device)
        plain = compose(
            model,
            told.cond,
            frames,
            seeds,
            sampling=sampling,
            negative=told.negative,
            overlap=overlap,
            progress=progress,
        )
        extra, first = plain.calls, hunt.scores(plain.latents)
    record = {
        "search": {
            "method": hunt.settings.method,
            "verifiers": list(hunt.names),
            "second": hunt.second,
            "evaluations": sum(tile.calls for tile in found.found),
            "calls": found.calls,
            "calls_of_yardstick": extra,
            "chosen": hunt.scores(found.latents),
            "first_seed": first,
            "networks": dict(hunt.networks),
        },
        "candidates": [
            row for number, tile in enumerate(found.found) for row in _rows(hunt, tile, number, request.seed)
        ],
    }
    return found, record


def check_ears(request: SongRequest, record: Mapping[str, Any]) -> None:
    """Refuse to repeat a search with other ears.

    Raises:
        CheckpointError: a network is not the one that chose the song.
    """
    if request.search is None:
        return
    for name, asked in record.get("search", {}).get("networks", {}).items():
        found = digest(find(getattr(request.search, name)))
        if found != asked:
            raise CheckpointError(
                f"the {name} at hand is {found[:12]}, the song was chosen by {asked[:12]}.",
                hint="Install the version that chose it, or name its folder in the request of the sidecar.",
            )


def _settings(asked: NoiseSearch, model: SongModel, sampling: Sampling) -> Search:
    budget = runs_budget(model, sampling, asked.runs) if asked.budget is None else asked.budget
    if budget < (least := runs_budget(model, sampling, 1)):
        raise ConfigError(
            f"a budget of {budget} evaluations is too small: one run takes {least}.", hint="Raise --budget."
        )
    return Search(asked.method, budget)  # type: ignore[arg-type]  # checked there


def _check(name: str, able: tuple[str, ...]) -> None:
    """Refuse a verifier that is unknown, or has nothing to listen for."""
    if name not in EARS:
        raise unknown("verifier", name, EARS)
    if name not in able:
        needs = {"words": "lyrics (--lrc or --hymn)", "style": "style words that the tagger knows (--style)"}
        raise ConfigError(f"the verifier '{name}' needs {needs[name]}.")


def _record(asked: NoiseSearch, files: Mapping[str, Path]) -> dict[str, Any]:
    return calibration_of(None if asked.calibration is None else Path(asked.calibration), files)


def _fit(name: str, asked: NoiseSearch, files: Mapping[str, Path]) -> bool:
    """Whether an ear that was not asked for may be reported beside the others."""
    network, metric = EARS[name]
    try:
        informative(_record(asked, {network: files[network]}), metric, network)
    except ConfigError:
        return False
    return True


def _of_first(hunt: Hunt, found: tuple[Found, ...]) -> dict[str, float]:
    """Scores of the first candidate."""
    log = found[0].log[0]
    values = [float(score) for score in log.scores[:, 0, 0]]
    values += [] if log.second is None else [float(log.second[0, 0])]
    return {name: round(value, 5) for name, value in zip(hunt.heard, values, strict=True)}


def _rows(hunt: Hunt, found: Found, number: int, seed: int) -> list[dict[str, Any]]:
    """Every candidate of a tile; those that are not final are denoised states on the way."""
    rows, chosen = [], False
    for log in found.log:
        for k in range(log.scores.shape[2]):
            scores = dict(zip(hunt.names, log.scores[:, 0, k].tolist(), strict=True))
            if hunt.second is not None and log.second is not None:
                scores[hunt.second] = float(log.second[0, k])
            best = log.final and not chosen and bool((log.scores[:, 0, k] == found.scores[:, 0]).all())
            chosen = chosen or best
            rows.append(
                {
                    "tile": number + 1,
                    **({"seed": seed + k} if hunt.settings.method == "random" else {}),
                    "evaluations": log.evaluations,
                    **{name: round(value, 5) for name, value in scores.items()},
                    "final": log.final,
                    "chosen": best,
                }
            )
    return rows
