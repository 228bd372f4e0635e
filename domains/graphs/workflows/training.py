"""Training a model of graphs or molecules, and scoring some of its samples beside the floor."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.device import choose_device
from core.errors import ConfigError, unknown
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.graphs.config import PRESETS, GraphConfig, checked, preset_for
from domains.graphs.data import GraphSet, Ragged
from domains.graphs.descriptors import columns_of, values_of
from domains.graphs.formats.reading import Reading
from domains.graphs.gdss import GraphModel, save_model
from domains.graphs.plots import plot_losses
from domains.graphs.sampling import sample_graphs
from domains.graphs.scoring import score_graphs, score_molecules
from domains.graphs.sets import NAMED, read_set
from domains.graphs.training import build, standardised, train
from domains.graphs.valency import molecules_of
from domains.graphs.workflows.opening import rates_of
from domains.graphs.workflows.sampling import draw_samples

__all__ = ["config_for", "train_file"]

SCORED = ("unique", "novel", "nspdk", "scaffold", "logp", "qed")
REFERENCE = 1000  # test graphs that samples are compared with, at most
TARGETS = {"gdss": "score", "transformer": "clean"}


def config_for(
    preset: str,
    *,
    given: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    properties: Sequence[str] = (),
) -> GraphConfig:
    """A preset with changes.

    Args:
        given: fields of `GraphConfig`; None where nothing was said. An architecture without a target takes
            the target that suits it, and the other way round.
        settings: "key=value" as JSON or a word, dots between nested keys: "sampling.steps=50".
        properties: numbers that the network is told.

    Raises:
        ConfigError: an unknown preset or key, or a value out of range.
    """
    values = preset_for(preset).model_dump()
    changes = {key: value for key, value in (given or {}).items() if value is not None}
    if "arch" in changes and "target" not in changes:
        changes["target"] = TARGETS.get(changes["arch"], values["target"])
    elif "target" in changes and "arch" not in changes:
        changes["arch"] = {target: arch for arch, target in TARGETS.items()}.get(
            changes["target"], values["arch"]
        )
    values |= changes
    for text in settings:
        _put(values, text)
    if properties:
        values["properties"] = tuple(properties)
    return checked(GraphConfig, values)


def _put(values: dict[str, Any], text: str) -> None:
    key, mark, word = text.partition("=")
    if not mark or not key:
        raise ConfigError(f"'{text}' sets nothing.", hint="Write --set width=64 or --set sampling.steps=50.")
    place: Any = values
    parts = key.strip().split(".")
    for i, part in enumerate(parts):
        if not isinstance(place, dict) or part not in place:
            where = ".".join(parts[:i])
            known = place if isinstance(place, dict) else ()
            raise unknown(f"setting of {where}" if where else "setting", part, known)
        if i < len(parts) - 1:
            place = place[part]
    try:
        place[parts[-1]] = json.loads(word)
    except ValueError:
        place[parts[-1]] = word.strip()


def train_file(
    source: str | None,
    folder: Path,
    *,
    reading: Reading = Reading(),
    preset: str | None = None,
    given: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    properties: Sequence[str] = (),
    samples: int = 20,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a model and write it, its log, its card, a loss curve and a few scored samples into a folder.

    Args:
        source: what `sets.read_set` reads; None takes the published set that the preset is named after.
        preset: a key of `config.PRESETS`; None takes the one named after the source, else "tiny".
        given, settings: see `config_for`.
        properties: numbers that the network is told: computed, or columns of the source.
        samples: drawn and scored at the end; 0 for none.
        resume: go on from the newest snapshot in the folder.

    Returns:
        Report: parameters, training graphs, notes, loss, and the scores of the samples with their floors.

    Raises:
        ConfigError: no source, an unknown preset, or a setting that is wrong.
        DataError: the source cannot be used; names row or graph.
    """
    source, preset = _named(source, preset)
    config = config_for(preset, given=given, settings=settings, properties=properties)
    where, note = choose_device(device)
    found = read_set(source, replace(reading, properties=columns_of(config.properties)))
    build(found.kind, config)  # refuses an architecture that does not suit the target
    values = values_of(found, config.properties)
    size = sum(weight.numel() for weight in build(found.kind, config).parameters())
    rows = found.at("train")
    standardised(config.properties, values, len(rows))  # refuses what cannot be learned
    notes = [*found.notes]
    plan = (
        f"train {config.arch} ({config.target}) on {source}: {many(len(rows), 'graph')} of up to "
        f"{found.kind.max_nodes} nodes, preset {preset}, {size:,} parameters",
        f"{config.steps:,} steps of {min(config.batch, len(rows))} graphs on {where}"
        + (f", told {', '.join(config.properties)}" if config.properties else ""),
        f"{many(samples, 'sample')} at the end by {config.sampling.solver}, {config.sampling.steps} steps",
        *(f"note: {line}" for line in notes),
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    model = train(
        found,
        config,
        properties=values,
        seed=seed,
        folder=folder,
        resume=resume,
        device=where,
        preset=preset,
        progress=progress,
    )
    path = save_model(model, folder)
    if (folder / "log.jsonl").exists():
        plot_losses(folder / "log.jsonl", folder / "loss.png")
    report: dict[str, Any] = {
        "model": str(path),
        "data": source,
        "preset": preset,
        "arch": config.arch,
        "target": config.target,
        "parameters": size,
        "graphs": len(rows),
        "kind": found.kind.to_dict(),
        "steps": config.steps,
        "loss": float(model.checkpoint.training["loss"]),
        "properties": {name: {"mean": m, "std": s} for name, (m, s) in model.properties.items()},
        "notes": notes,
        "warnings": [],
    }
    if samples:
        model.denoiser.to(where)
        report |= _scored(model, found, samples, seed, folder, progress)
    return report


def _named(source: str | None, preset: str | None) -> tuple[str, str]:
    """Source and preset, each from the other where it is not given.

    Raises:
        ConfigError: neither names the other.
    """
    if preset is not None and preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    if source is None:
        if preset is None or preset not in NAMED:
            raise ConfigError(
                "nothing to train on.", hint="Name a file or a set: suffuse graphs train mine.smi --out run"
            )
        return preset, preset
    return source, preset or (source if source in PRESETS and source in NAMED else "tiny")


def _scored(
    model: GraphModel, found: GraphSet, count: int, seed: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Samples, their picture, and their scores against the test graphs with the training graphs beside."""
    drawn = sample_graphs(model, count, seed=seed, progress=progress)
    ragged = drawn.quantised.ragged
    tested = len(found.splits.get("test", ())) > 0
    tests = found.at("test" if tested else "train")[:REFERENCE]
    warnings = [] if tested else ["there is no test split; scores are against training graphs."]
    if not model.kind.molecular:
        draw_samples(ragged, None, folder / "samples.png")
        some: Ragged = found.ragged.take(_some(found.at("train"), count, seed))
        rows = score_graphs(ragged, found.ragged.take(tests), some, progress=progress)
        return {"samples": count, "scores": rows, "warnings": warnings}
    molecules = molecules_of(ragged, model.kind)
    draw_samples(ragged, molecules, folder / "samples.png")
    smiles = found.smiles or _smiles(found)
    rows, notes = score_molecules(
        molecules,
        [smiles[i] for i in tests],
        [smiles[i] for i in found.at("train")],
        metrics=SCORED,
        seed=seed,
        progress=progress,
    )
    return {
        "samples": count,
        "rates": rates_of(molecules),
        "scores": rows,
        "warnings": [*warnings, *notes],
    }


def _some(rows: np.ndarray[Any, np.dtype[Any]], count: int, seed: int) -> np.ndarray[Any, np.dtype[Any]]:
    """As many training graphs as there are samples: distances depend on the number."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def _smiles(found: GraphSet) -> tuple[str, ...]:
    return tuple(smiles or "" for smiles in molecules_of(found.ragged, found.kind).smiles)
