"""Drawing graphs or molecules from a trained model into a file, with a picture, their rates and a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from core.device import choose_device
from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.graphs.config import GraphSampling
from domains.graphs.data import Kind, Ragged
from domains.graphs.exchange import to_networkx
from domains.graphs.formats.write import suffixes, write_samples
from domains.graphs.gdss import GraphModel
from domains.graphs.plots import draw_graphs, draw_molecules
from domains.graphs.sampling import sample_graphs
from domains.graphs.valency import Molecules, molecules_of
from domains.graphs.workflows.opening import (
    check_pair,
    counts_of,
    open_model,
    rates_of,
    sampling_of,
    sidecar,
    sizes_of,
    write_sidecar,
)

__all__ = ["draw_samples", "sample_file"]

TRIES = 10  # graphs drawn for one that must be connected, at most


def sample_file(
    run: str,
    out: Path,
    *,
    count: int = 100,
    settings: Mapping[str, Any] | None = None,
    sizes: str | None = None,
    connected: bool = False,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Sample, quantise, correct molecules, write and draw.

    Args:
        run: folder or file of a model, or the name of one that ships.
        out: .smi, .csv, .sdf, .npz or .pt for molecules; .npz, .pt or .edges for graphs. A record goes beside
            it, into `out`.json.
        count: graphs asked for; molecules of which nothing is left are not written.
        settings: fields of `GraphSampling`; the model's own by default.
        sizes: see `opening.sizes_of`.
        connected: draw again in place of graphs with several parts, `TRIES` times at most; molecules count
            before their largest fragment is taken.
        folder: `samples.png` goes here.

    Returns:
        Counts, evaluations of the network, sizes, and for molecules the rates with and without correction.

    Raises:
        ConfigError: a setting is wrong, or the file exists.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1 graph, got {count}.")
    where, note = choose_device(device)
    model = open_model(run)
    model.denoiser.to(where)
    check_pair(out, suffixes(model.kind), overwrite=overwrite)
    sampling = sampling_of(model, settings or {})
    chosen = sizes_of(sizes, count, model, seed)
    plan = (
        f"sample {many(count, 'graph')} from {run}: {sampling.solver}, {many(sampling.steps, 'step')}, "
        f"sizes {sizes or 'train'}" + (", connected alone" if connected else ""),
        f"write {out} and {sidecar(out).name}",
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    draw = _connected if connected else _once
    made = draw(model, count, sampling, chosen, seed, progress)
    ragged, found = made.ragged, made.molecules
    write_samples(out, ragged, model.kind, molecules=found, overwrite=overwrite)
    written = len(ragged) if found is None or out.suffix.lower() in (".npz", ".pt") else len(found.kept)
    report: dict[str, Any] = {
        "run": run,
        "output": str(out),
        "kind": model.kind.name,
        "graphs": count,
        "written": written,
        "evaluations": made.evaluations,
        "nodes_mean": float(ragged.sizes.mean()) if len(ragged) else None,
        "connected": made.share,
        **(rates_of(found) if found is not None else {}),
        "sampling": sampling.model_dump(mode="json"),
        "warnings": list(made.warnings),
    }
    record = {
        "model": run,
        "preset": model.checkpoint.preset,
        "kind": model.kind.to_dict(),
        "seed": seed,
        "solver": sampling.solver,
        "steps": sampling.steps,
        "sizes": sizes or "train",
        "connected": connected,
        "sampling": report["sampling"],
        "counts": {"asked": count, **made.counts, "written": written},
    }
    write_sidecar(out, "suffuse graphs sample", record, overwrite=overwrite)
    if folder is not None:
        draw_samples(ragged, found, folder / "samples.png")
    return report


def draw_samples(ragged: Ragged, found: Molecules | None, path: Path) -> None:
    """A grid of the first samples; none where there is nothing to draw."""
    if found is None:
        if len(ragged):
            draw_graphs(ragged, path, overwrite=True)
    elif mols := [mol for mol in found.mols if mol is not None]:
        draw_molecules(mols, path, overwrite=True)


@dataclass(frozen=True)
class _Made:
    """Graphs as they are written, and what is said of all that were drawn."""

    ragged: Ragged
    molecules: Molecules | None
    counts: Mapping[str, int]
    share: float
    evaluations: int
    warnings: tuple[str, ...] = ()


def _once(
    model: GraphModel,
    count: int,
    sampling: GraphSampling,
    sizes: list[int] | int | None,
    seed: int,
    progress: Progress,
) -> _Made:
    drawn = sample_graphs(model, count, sampling=sampling, seed=seed, sizes=sizes, progress=progress)
    ragged = drawn.quantised.ragged
    found = molecules_of(ragged, model.kind) if model.kind.molecular else None
    share = float(np.mean(_whole(ragged, found, model.kind)))
    return _Made(ragged, found, counts_of(drawn, found), share, drawn.evaluations)


def _connected(
    model: GraphModel,
    count: int,
    sampling: GraphSampling,
    sizes: list[int] | int | None,
    seed: int,
    progress: Progress,
) -> _Made:
    """Draw until every place holds a connected graph; places that never do stay empty."""
    places: dict[int, tuple[Ragged, int]] = {}
    missing, first, whole, evaluations = list(range(count)), 0, 0, 0
    counts: dict[str, int] = {}
    while missing and first < TRIES * count:
        n = min(len(missing), TRIES * count - first)
        now = [sizes[i] for i in missing[:n]] if isinstance(sizes, list) else sizes
        drawn = sample_graphs(
            model, n, sampling=sampling, seed=seed, first=first, sizes=now, progress=progress
        )
        ragged, evaluations = drawn.quantised.ragged, drawn.evaluations
        found = molecules_of(ragged, model.kind) if model.kind.molecular else None
        for key, value in counts_of(drawn, found).items():
            counts[key] = counts.get(key, 0) + value
        good = _whole(ragged, found, model.kind)
        for row in np.flatnonzero(good).tolist():
            places[missing[row]] = (ragged, row)
        whole, first = whole + int(sum(good)), first + n
        missing = [i for i in range(count) if i not in places]
    kept = Ragged.cat([ragged.take([row]) for _, (ragged, row) in sorted(places.items())])
    found = molecules_of(kept, model.kind) if model.kind.molecular else None
    warnings = []
    if missing:
        warnings.append(
            f"{len(places)} of {count} graphs are written: of {first} drawn only {whole} were connected."
        )
    if found is not None:
        counts["duplicates"] = len(found.kept) - len(set(found.kept))
    return _Made(kept, found, counts, whole / first, evaluations, tuple(warnings))


def _whole(ragged: Ragged, found: Molecules | None, kind: Kind) -> Sequence[bool]:
    """Whether each graph is in one part and not empty."""
    if found is not None:
        return [bool(c) and s is not None for c, s in zip(found.connected, found.smiles, strict=True)]
    return [len(graph) > 0 and nx.is_connected(graph) for graph in to_networkx(ragged, kind)]
