"""Scores of generated sets, each with its floor: the same metric of training data on the reference.

A figure below its floor is noise. The floor of molecules is taken on as many training molecules as there are
generated ones, drawn at random, since distances of samples depend on their number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from core.errors import MissingExtra, unknown
from core.progress import Progress, silent
from domains.graphs.data import Ragged
from domains.graphs.metrics import molecular
from domains.graphs.metrics.fcd import Fit, fcd, fit
from domains.graphs.metrics.structure import METRICS, Kernel, mmd_table, vectors
from domains.graphs.nspdk import mean_embedding, nspdk_mmd
from domains.graphs.valency import Molecules

__all__ = ["DISTANCES", "MOLECULE_METRICS", "score_graphs", "score_molecules"]

COUNTED = ("unique", "novel", "coverage")
DISTANCES = ("fcd", "nspdk", "scaffold", "fragment", "snn", "diversity", *sorted(molecular.PROPERTIES))
MOLECULE_METRICS = ("validity", *COUNTED, *DISTANCES)
Row = dict[str, Any]


def score_graphs(
    gen: Ragged,
    ref: Ragged,
    train: Ragged | None = None,
    *,
    kernel: Kernel = "emd",
    metrics: Sequence[str] = METRICS,
    progress: Progress = silent,
) -> list[Row]:
    """One row a metric: MMD of generated and reference graphs, the floor, and their ratio.

    Returns:
        Rows with "metric", "mmd", "floor" and "ratio"; None where a side is empty or `train` is not given.
        The last row is the mean of degree, clustering and orbit; its ratio is the mean of theirs.
    """
    reference = vectors(ref, metrics, progress=progress, stage="reference")
    found = mmd_table(vectors(gen, metrics, progress=progress, stage="generated"), reference, kernel)
    floors: dict[str, float | None] = dict.fromkeys(found)
    if train is not None:
        floors = mmd_table(vectors(train, metrics, progress=progress, stage="floor"), reference, kernel)
    rows = []
    ratios: dict[str, float | None] = {}
    for metric, value in found.items():
        floor = floors[metric]
        # A floor of rounding errors, such as that of clustering on grids, gives no ratio.
        ratio = value / floor if value is not None and floor is not None and floor > 1e-9 else None
        if metric == "mean":
            three = [ratios.get(name) for name in METRICS[:3]]
            known = [one for one in three if one is not None]
            ratio = sum(known) / len(known) if known else None
        ratios[metric] = ratio
        rows.append({"metric": metric, "mmd": value, "floor": floor, "ratio": ratio})
    return rows


def score_molecules(
    gen: Molecules,
    ref: Sequence[str],
    train: Sequence[str] | None = None,
    *,
    metrics: Sequence[str] = MOLECULE_METRICS,
    floor: bool = True,
    seed: int = 0,
    device: str = "cpu",
    cache: Path | None = None,
    progress: Progress = silent,
) -> tuple[list[Row], list[str]]:
    """One row a metric: the value of the generated set and the floor.

    Args:
        gen: every molecule asked for, valid or not.
        ref, train: canonical SMILES.
        floor: score a part of the training set too.
        seed: of the training molecules that the floor is taken on.
        cache: folder for the fit of the reference that FCD needs.

    Returns:
        Rows with "metric", "value" and "floor", and notes on what was left out. Distances of a set without a
        valid molecule are None.

    Raises:
        ConfigError: a metric is not known.
    """
    for metric in metrics:
        if metric not in MOLECULE_METRICS:
            raise unknown("metric of molecules", metric, MOLECULE_METRICS)
    smiles, notes = gen.kept, []
    base: Sequence[str] = ()
    if train and floor:
        n = min(len(train), max(len(smiles), 2))
        base = [train[i] for i in np.sort(np.random.default_rng(seed).permutation(len(train))[:n])]
    rows: list[Row] = [_counted(m, smiles, ref, train, base) for m in metrics if m in COUNTED]
    with rdBase.BlockLogs():
        sides = {
            name: [mol for mol in map(Chem.MolFromSmiles, strings) if mol is not None]
            for name, strings in (("gen", smiles), ("ref", ref), ("floor", base))
        }
        wanted = [metric for metric in DISTANCES if metric in metrics]
        for i, metric in enumerate(wanted):
            progress(metric, i, len(wanted))
            if metric == "fcd":
                row, said = _fcd(smiles, ref, base, device, cache)
                notes += said
            else:
                row = _distance(metric, sides["gen"], sides["ref"], sides["floor"])
            rows.append(row)
    return rows, notes


def _counted(
    metric: str, smiles: Sequence[str], ref: Sequence[str], train: Sequence[str] | None, base: Sequence[str]
) -> Row:
    value: float | None = None
    floor: float | None = None
    if metric == "unique":
        value, floor = molecular.uniqueness(smiles), molecular.uniqueness(base)
    elif metric == "novel" and train is not None:
        # The floor: what share of the reference the training set does not have.
        value, floor = molecular.novelty(smiles, train), molecular.novelty(ref, train)
    elif metric == "coverage" and (whole := {*ref, *(train or ())}):
        value = len(whole & set(smiles)) / len(whole) if smiles else None
        floor = len(whole & set(base)) / len(whole) if base else None
    return {"metric": metric, "value": value, "floor": floor}


def _distance(metric: str, gen: Sequence[Any], ref: Sequence[Any], floor: Sequence[Any]) -> Row:
    match metric:
        case "nspdk":
            sides = [mean_embedding(side) if side else None for side in (gen, ref, floor)]
            pair = [
                None if side is None or sides[1] is None else nspdk_mmd(side, sides[1])
                for side in (sides[0], sides[2])
            ]
        case "scaffold" | "fragment":
            count = molecular.scaffolds if metric == "scaffold" else molecular.fragments
            right = count(ref)
            pair = [molecular.cosine(count(side), right) for side in (gen, floor)]
        case "snn":
            prints = molecular.fingerprints(ref)
            pair = [
                molecular.nearest_similarity(molecular.fingerprints(side), prints) for side in (gen, floor)
            ]
        case "diversity":
            pair = [molecular.internal_diversity(molecular.fingerprints(side)) for side in (gen, floor)]
        case _:
            values = molecular.property_values(ref, metric)
            pair = [
                molecular.wasserstein(molecular.property_values(side, metric), values)
                for side in (gen, floor)
            ]
    return {"metric": metric, "value": pair[0], "floor": pair[1]}


def _fcd(
    smiles: Sequence[str], ref: Sequence[str], base: Sequence[str], device: str, cache: Path | None
) -> tuple[Row, list[str]]:
    """FCD, or a note on why there is none; it is never silently 0."""
    row: Row = {"metric": "fcd", "value": None, "floor": None}
    if min(len(smiles), len(ref)) < 2:
        return row, [
            f"fcd is left out: it needs 2 valid molecules a side, there are {len(smiles)} generated and "
            f"{len(ref)} in the reference."
        ]
    try:
        right: Fit = fit(ref, device=device, cache=cache)
        own = fit(smiles, device=device)
    except MissingExtra as error:
        return row, [f"fcd is left out: {error} {error.hint}"]
    row["value"] = fcd(own, right)
    if len(base) > 1:
        row["floor"] = fcd(fit(base, device=device), right)
    notes = [
        f"fcd: the covariance of {n} {what} molecules is singular (512 activations); its value is biased."
        for what, n, singular in (("generated", own.n, own.singular), ("reference", right.n, right.singular))
        if singular
    ]
    return row, notes
