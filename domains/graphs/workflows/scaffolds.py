"""Drawing molecules around a scaffold, with the rate that keeps it beside the rate without a constraint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from core.device import choose_device
from core.errors import ConfigError, unknown
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.graphs.formats.write import suffixes, write_samples
from domains.graphs.plots import draw_molecules
from domains.graphs.sampling import plan_of, sample_graphs
from domains.graphs.scaffold import grow, scaffold_of
from domains.graphs.valency import Molecules, molecules_of
from domains.graphs.workflows.opening import (
    check_pair,
    open_model,
    rates_of,
    sampling_of,
    sidecar,
    sizes_of,
    write_sidecar,
)

__all__ = ["scaffold_file"]

METHODS = ("explicit", "replacement")


def scaffold_file(
    run: str,
    smiles: str,
    out: Path,
    *,
    attach: Sequence[int] | None = None,
    method: str | None = None,
    jumps: int = 1,
    count: int = 100,
    settings: Mapping[str, Any] | None = None,
    sizes: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Draw molecules that hold a scaffold, and write those that do.

    Args:
        run: a model of molecules.
        smiles: the scaffold; "*" marks attachment atoms.
        out: as for `sample_file`, molecules that hold the scaffold alone; a record beside it.
        attach: atoms that may bond to new ones, from 0 in the order of the SMILES.
        method: "explicit" or "replacement"; None is "replacement" where there are jumps.
        jumps: walks of each row of the plan; more than 1 needs "replacement".
        count: molecules drawn.
        sizes: see `opening.sizes_of`, the scaffold included; None draws training sizes that hold it.
        folder: `samples.png` goes here, the scaffold marked.

    Returns:
        Report: `kept`, the share that holds the scaffold, beside `kept_without`, the share of unconstrained
        samples that do; counts and rates.

    Raises:
        ConfigError: a setting is wrong, or an attachment atom is not free.
        DataError: the scaffold cannot be used; says which rule it breaks.
    """
    if method is not None and method not in METHODS:
        raise unknown("method", method, METHODS)
    chosen: Any = method or ("replacement" if jumps > 1 else "explicit")
    if chosen == "explicit" and jumps > 1:
        raise ConfigError("jumps belong to the method 'replacement'.", hint="Drop --jumps or --method.")
    if count < 1:
        raise ConfigError(f"count must be at least 1 molecule, got {count}.")
    where, note = choose_device(device)
    model = open_model(run)
    scaffold = scaffold_of(smiles, model.kind, attach)
    check_pair(out, suffixes(model.kind), overwrite=overwrite)
    sampling = sampling_of(model, settings or {})
    plan_of(model.process, sampling, data_std=model.denoiser.data_std)
    nodes = sizes_of(sizes, count, model, seed)
    plan = (
        f"grow {many(count, 'molecule')} around {smiles} ({len(scaffold)} of {model.kind.max_nodes} atoms, "
        f"attachments {', '.join(map(str, scaffold.attach)) or 'none'}) by {run}",
        f"{chosen}, {jumps} walks a step: {sampling.solver}, {sampling.steps} steps; then {count} without",
        f"write {out} and {sidecar(out).name}",
        *([note] if note else []),
    )
    full = len(scaffold) == model.kind.max_nodes
    outlook = ("the scaffold fills the model: nothing can be added to it.",) if full else ()
    ready(Outlook(plan, outlook, device=str(where)))
    model.denoiser.to(where)
    grown = grow(
        model,
        scaffold,
        count,
        method=chosen,
        jumps=jumps,
        sampling=sampling,
        seed=seed,
        sizes=nodes,
        progress=progress,
    )
    plain = sample_graphs(model, count, sampling=sampling, seed=seed, sizes=nodes, progress=progress)
    free = molecules_of(plain.quantised.ragged, model.kind)
    held = [mol is not None and mol.HasSubstructMatch(scaffold.query) for mol in free.mols]
    kept = np.flatnonzero(grown.kept.numpy())
    found = _some(grown.molecules, kept)
    ragged = grown.quantised.ragged.take(kept)
    written = write_samples(out, ragged, model.kind, molecules=found, overwrite=overwrite)
    rates = rates_of(grown.molecules)
    report: dict[str, Any] = {
        "run": run,
        "output": str(out),
        "scaffold": smiles,
        "attach": list(scaffold.attach),
        "method": chosen,
        "jumps": jumps,
        "graphs": count,
        "kept": grown.rate,
        "kept_without": float(np.mean(held)),
        "written": written,
        "valid_without_correction": rates["valid_without_correction"],
        "unique_of_kept": rates_of(found)["unique"],
        "only_the_scaffold": found.kept.count(Chem.MolToSmiles(scaffold.query, isomericSmiles=False)),
        "sampling": sampling.model_dump(mode="json"),
        "warnings": [] if len(kept) else ["no molecule holds the scaffold; nothing was drawn."],
    }
    record = {
        "model": run,
        "preset": model.checkpoint.preset,
        "seed": seed,
        "solver": sampling.solver,
        "steps": sampling.steps,
        **{key: report[key] for key in ("scaffold", "attach", "method", "jumps", "sampling")},
        "counts": {
            "asked": count,
            "kept": len(kept),
            "written": written,
            "corrected": int((grown.molecules.lowered > 0).sum()),
            "duplicates": len(found.kept) - len(set(found.kept)),
        },
    }
    write_sidecar(out, "suffuse graphs scaffold", record, overwrite=overwrite)
    mols = [mol for mol in found.mols if mol is not None]
    if folder is not None and mols:
        mark = Chem.MolToSmarts(scaffold.query)
        draw_molecules(mols, folder / "samples.png", highlight=mark, overwrite=True)
    return report


def _some(found: Molecules, rows: np.ndarray[Any, np.dtype[Any]]) -> Molecules:
    at = rows.tolist()
    return Molecules(
        tuple(found.mols[i] for i in at),
        tuple(found.smiles[i] for i in at),
        found.valid[rows],
        found.connected[rows],
        found.lowered[rows],
    )
