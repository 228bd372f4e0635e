"""Measure generated graphs or molecules of anybody's file against a reference, with floors beside the
scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError, unknown
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from data import store
from domains.graphs.data import GraphSet
from domains.graphs.formats.reading import Reading
from domains.graphs.generated import read_generated
from domains.graphs.metrics.structure import METRICS, Kernel
from domains.graphs.metrics.vun import VALID, vun
from domains.graphs.scoring import MOLECULE_METRICS, score_graphs, score_molecules
from domains.graphs.sets import BUILTIN, NAMED, read_set

__all__ = ["evaluate_file", "markdown_table", "split_name"]


def split_name(source: str, default: str | None) -> tuple[str, str | None]:
    """Tell "qm9:test" from a path: a name of a set and its split.

    Args:
        default: the split of a named set that names none; files are read whole.
    """
    if Path(source).expanduser().exists():
        return source, None
    name, _, split = source.partition(":")
    if name in (*NAMED, *BUILTIN):
        return name, split or default
    if split and Path(name).expanduser().exists():
        return name, split
    return source, None


def evaluate_file(
    gen: str | Path,
    ref: str,
    train: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    kernel: Kernel = "emd",
    prop: str | None = None,
    floor: bool = True,
    reading: Reading = Reading(),
    seed: int = 0,
    device: str = "cpu",
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a file.

    Args:
        gen: generated graphs or molecules, in any format of `sets.SUFFIXES`.
        ref: a file, a named set, or "name:split"; a name alone means its test split.
        train: likewise; None takes the train split of a named `ref`, and nothing beside a file.
        metrics: None takes all; of graphs those of `structure.METRICS` and "vun", of molecules those of
            `scoring.MOLECULE_METRICS`.
        kernel: of graphs, "emd" or "tv".
        prop: what a valid graph is, a key of `vun.VALID`; None takes it from the name of the reference.
        floor: measure the training set against the reference too.
        reading: of reference and training set.
        seed: of the training molecules that floors are taken on.
        folder: `scores.md` goes here.

    Returns:
        A report: the setting, `scores` with one row per metric, `rates` of molecules or `vun` of graphs,
        notes and warnings. Numbers that do not exist are None.
    """
    if kernel not in ("emd", "tv"):
        raise unknown("kernel", kernel, ("emd", "tv"))
    known = (*METRICS, "vun", *MOLECULE_METRICS)
    for metric in metrics or ():
        if metric not in known:
            raise unknown("metric", metric, known)
    if (
        not Path(gen).expanduser().exists()
        and split_name(str(gen), None)[0] == str(gen) not in BUILTIN + NAMED
    ):
        raise DataError(f"there is no file {gen}.", hint="Give a file of generated graphs or molecules.")
    reference = _read(ref, "test", reading)
    name, split = split_name(ref, "test")
    if train is None and name in (*NAMED, *BUILTIN) and split != "train":
        train = f"{name}:train"
    training = None if train is None else _read(train, "train", reading)
    if training is not None and training.kind.molecular != reference.kind.molecular:
        raise DataError(f"{train} and {ref} are not of one kind: graphs and molecules cannot be compared.")
    plan = (
        f"evaluate {gen} against {ref}: {many(len(reference), 'reference graph')}",
        f"floor: {train if train and floor else 'none'}",
        *(f"note: {note}" for note in reference.notes),
    )
    task = _Task(
        Path(gen).expanduser(),
        reference,
        training,
        metrics,
        floor,
        Outlook(plan, device=device),
        ready,
        progress,
    )
    if reference.kind.molecular:
        report = _molecules(task, seed, device)
    else:
        report = _graphs(task, kernel, prop or (name if name in VALID else None))
    report = {"gen": str(gen), "ref": ref, "train": train, **report}
    if folder is not None:
        (folder / "scores.md").write_text(markdown_table(report), encoding="utf-8")
    return report


@dataclass(frozen=True, eq=False)
class _Task:
    """What both kinds of evaluation are given."""

    gen: Path
    ref: GraphSet
    train: GraphSet | None
    metrics: Sequence[str] | None
    floor: bool
    outlook: Outlook
    ready: Ready
    progress: Progress


def _read(source: str, default: str, reading: Reading) -> GraphSet:
    name, split = split_name(source, default)
    return read_set(name, replace(reading, split=split, single=True))


def _molecules(task: _Task, seed: int, device: str) -> dict[str, Any]:
    _fitting(task.metrics, MOLECULE_METRICS, "molecules")
    found = read_generated(task.gen)
    task.ready(task.outlook)
    rows, notes = score_molecules(
        found,
        task.ref.smiles,
        None if task.train is None else task.train.smiles,
        metrics=task.metrics or MOLECULE_METRICS,
        floor=task.floor,
        seed=seed,
        device=device,
        cache=store.cache_dir() / "graphs",
        progress=task.progress,
    )
    if not found.kept:
        notes = [f"none of {len(found)} generated molecules is valid: distances do not exist.", *notes]
    return {
        "kind": "molecules",
        "reference_molecules": len(task.ref),
        "rates": found.rates(),
        "scores": rows,
        "notes": list(task.ref.notes),
        "warnings": notes,
    }


def _graphs(task: _Task, kernel: Kernel, prop: str | None) -> dict[str, Any]:
    _fitting(task.metrics, (*METRICS, "vun"), "graphs")
    source, split = split_name(str(task.gen), None)
    found = read_set(source, Reading(single=True, split=split))
    if found.kind.molecular:
        raise DataError(f"{task.gen} holds molecules, the reference generic graphs.", hint="Give graphs.")
    task.ready(task.outlook)
    gen, ref = found.ragged, task.ref.ragged
    train = None if task.train is None else task.train.ragged
    chosen = [metric for metric in (task.metrics or METRICS) if metric in METRICS]
    rows = score_graphs(
        gen, ref, train if task.floor else None, kernel=kernel, metrics=chosen, progress=task.progress
    )
    warnings = []
    if len(found) != len(task.ref):
        warnings.append(
            f"{many(len(found), 'generated graph')} against {len(task.ref)}: published figures compare equal "
            "numbers, and the bias of MMD depends on them."
        )
    report: dict[str, Any] = {
        "kind": "graphs",
        "kernel": kernel,
        "generated_graphs": len(found),
        "reference_graphs": len(task.ref),
        "scores": rows,
    }
    if prop or (task.metrics and "vun" in task.metrics):
        known = train if train is not None else ref.take([])
        report["vun"] = vun(gen, known, prop, progress=task.progress)
        report["vun_reference"] = vun(ref, known, prop)
        if prop == "sbm":
            warnings.append("the validity of block models is not comparable with figures made by graph-tool.")
        if train is None:
            warnings.append("novelty counts every graph, since no training set is given (--train).")
    return report | {"notes": [*task.ref.notes, *found.notes], "warnings": warnings}


def _fitting(metrics: Sequence[str] | None, known: Sequence[str], what: str) -> None:
    if metrics and (strange := [metric for metric in metrics if metric not in known]):
        raise ConfigError(
            f"'{strange[0]}' is no metric of {what} (known: {', '.join(known)}).",
            hint="Graphs and molecules have metrics of their own.",
        )


def markdown_table(report: Mapping[str, Any]) -> str:
    """The scores of a report as a Markdown table."""
    molecular = report["kind"] == "molecules"
    value = "value" if molecular else "mmd"
    kernel = "" if molecular else f", kernel {report['kernel']}"
    lines = [f"{report['gen']} against {report['ref']}{kernel}; floor: {report['train'] or 'none'}", ""]
    heads = ["metric", value, "floor"] + ([] if molecular else ["ratio"])
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    shares = {**report.get("rates", {}), **report.get("vun", {})}
    others = report.get("vun_reference", {})
    lines += [
        f"| {name.replace('_', ' ')} | {_shown(share)} | {_shown(others.get(name))} |"
        + (" |" if not molecular else "")
        for name, share in shares.items()
    ]
    for row in report["scores"]:
        lines.append("| " + " | ".join([row["metric"], *(_shown(row[head]) for head in heads[1:])]) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.6g}"
