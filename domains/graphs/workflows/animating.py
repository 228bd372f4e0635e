"""A film of graphs as they come out of noise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.device import choose_device
from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.graphs.film import SUFFIXES, write_film
from domains.graphs.sampling import sample_graphs
from domains.graphs.valency import molecules_of
from domains.graphs.workflows.opening import (
    check_pair,
    open_model,
    sampling_of,
    sidecar,
    sizes_of,
    write_sidecar,
)

__all__ = ["animate_file"]


def animate_file(
    run: str,
    out: Path,
    *,
    count: int = 3,
    frames: int = 40,
    fps: float = 12.0,
    settings: Mapping[str, Any] | None = None,
    sizes: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a film of generation: frames evenly spaced over the steps, the last of them the result.

    Args:
        out: .gif, or a folder of pictures; a record goes beside it.
        count: graphs side by side.
        frames: at most; no more than there are steps.

    Returns:
        Report: frames, evaluations, and what the graphs are at the end.

    Raises:
        ConfigError: a setting is wrong, or the output exists.
    """
    if not 1 <= count <= 8:
        raise ConfigError(f"a film shows 1 to 8 graphs, got {count}.")
    if frames < 2 or not fps > 0:
        raise ConfigError(f"a film needs at least 2 frames and a rate above 0, got {frames} and {fps:g}.")
    where, note = choose_device(device)
    model = open_model(run)
    model.denoiser.to(where)
    check_pair(out, SUFFIXES, overwrite=overwrite)
    sampling = sampling_of(model, settings or {})
    nodes = sizes_of(sizes, count, model, seed)
    plan = (
        f"film of {many(count, 'graph')} from {run}: {sampling.solver}, {sampling.steps} steps, "
        f"{frames} frames",
        f"write {out} and {sidecar(out).name}",
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    drawn = sample_graphs(
        model,
        count,
        sampling=sampling,
        seed=seed,
        sizes=nodes,
        frames=frames,
        framed=count,
        progress=progress,
    )
    pictures = write_film(drawn.frames, drawn.times, model.kind, out, fps=fps, overwrite=overwrite)
    report: dict[str, Any] = {
        "run": run,
        "output": str(out),
        "graphs": count,
        "frames": pictures,
        "evaluations": drawn.evaluations,
        "nodes": drawn.quantised.ragged.sizes.tolist(),
        "edges": drawn.quantised.ragged.counts.tolist(),
        "sampling": sampling.model_dump(mode="json"),
    }
    if model.kind.molecular:
        report["smiles"] = [one or "" for one in molecules_of(drawn.quantised.ragged, model.kind).smiles]
    record = {
        "model": run,
        "preset": model.checkpoint.preset,
        "seed": seed,
        "solver": sampling.solver,
        "steps": sampling.steps,
        "sampling": report["sampling"],
        "counts": {"graphs": count, "frames": pictures},
    }
    write_sidecar(out, "suffuse graphs animate", record, overwrite=overwrite)
    return report
