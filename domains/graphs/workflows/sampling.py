"""Drawing graphs or molecules from a trained model into a file, with a picture and their rates."""

from pathlib import Path
from typing import Any

from core.device import choose_device
from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, check_output, many
from core.progress import Progress, silent
from domains.graphs.config import GraphSampling, checked
from domains.graphs.formats.write import suffixes, write_samples
from domains.graphs.gdss import GraphModel, load_model
from domains.graphs.metrics.molecular import uniqueness
from domains.graphs.plots import draw_graphs, draw_molecules
from domains.graphs.sampling import sample_graphs
from domains.graphs.valency import molecules_of
from domains.graphs.weights import SHIPPED, shipped

__all__ = ["open_model", "sample_file"]


def open_model(run: str) -> GraphModel:
    """The model of a run folder or file, or one that ships with the project.

    Raises:
        CheckpointError: there is none, or it is no model of graphs.
    """
    return load_model(shipped(run) if run in SHIPPED and not Path(run).exists() else Path(run).expanduser())


def sample_file(
    run: str,
    out: Path,
    *,
    count: int = 100,
    solver: str | None = None,
    steps: int | None = None,
    prior: str | None = None,
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
        out: .smi, .csv, .sdf, .npz or .pt for molecules; .npz, .pt or .edges for graphs.
        count: graphs asked for; molecules of which nothing is left are not written.
        solver, steps, prior: see `GraphSampling`; the model's own by default.
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
    check_output(out, suffixes(model.kind), overwrite=overwrite)
    given = {"solver": solver, "steps": steps, "prior": prior}
    changes = {key: value for key, value in given.items() if value is not None}
    sampling = checked(GraphSampling, {**model.sampling.model_dump(), **changes})
    plan = (
        f"sample {many(count, 'graph')} from {run}: {sampling.solver}, {sampling.steps} steps",
        f"write {out}",
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    drawn = sample_graphs(model, count, sampling=sampling, seed=seed, progress=progress)
    ragged = drawn.quantised.ragged
    report: dict[str, Any] = {
        "run": run,
        "output": str(out),
        "kind": model.kind.name,
        "graphs": count,
        "evaluations": drawn.evaluations,
        "nodes_mean": float(ragged.sizes.mean()),
        "sampling": sampling.model_dump(mode="json"),
    }
    if model.kind.molecular:
        found = molecules_of(ragged, model.kind)
        report |= {"written": write_samples(out, ragged, model.kind, molecules=found, overwrite=overwrite)}
        report |= {**found.rates(), "unique": uniqueness(list(found.kept))}
        mols = [mol for mol in found.mols if mol is not None]
        if folder is not None and mols:
            draw_molecules(mols, folder / "samples.png", overwrite=True)
    else:
        report |= {"written": write_samples(out, ragged, model.kind, overwrite=overwrite)}
        if folder is not None:
            draw_graphs(ragged, folder / "samples.png", overwrite=True)
    return report
