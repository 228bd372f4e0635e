"""The core's demo as one page: what was run, drawn and measured."""

from typing import Any

from apps.core_demo.plots import plot_cases, plot_curves
from apps.core_demo.samplers import BUDGETS, Curve, curves
from apps.core_demo.steering import Case, cases
from apps.report import Column, Number, Page, Picture, Row, Section, Table, render, run_footer
from apps.runfolder import RunFolder
from core.progress import Progress, silent

__all__ = ["run_core_demo"]


def run_core_demo(
    run: RunFolder, *, n: int = 2000, seed: int = 0, progress: Progress = silent
) -> dict[str, Any]:
    """Run twelve samplers and the main steering methods against exact truth; write `index.html` and
    `report.json`.

    Args:
        run: the open run folder; pictures, their numbers and the page go there.
        n: samples of every run.

    Returns:
        The report: a row per sampler and budget, a row per steering method, each with its floor.
    """
    found, floor, _ = curves(n=n, seed=seed, progress=progress)
    steered = cases(n=n, seed=seed, progress=progress)
    for picture in (
        plot_curves(found, floor, run.path / "samplers.png"),
        plot_cases(steered, run.path / "steering.png"),
    ):
        run.add(picture)
        run.add(picture.with_suffix(".csv"))
    report: dict[str, Any] = {
        "samples": n,
        "floor": floor,
        "samplers": [
            {"sampler": c.name, "calls": calls, "sw2": _finite(sw2)}
            for c in found
            for calls, sw2 in zip(c.calls, c.sw2, strict=True)
        ],
        "steering": [
            {"method": c.name, "question": c.question, "sw2": c.sw2, "floor": c.floor, "calls": c.calls}
            for c in steered
        ],
        "page": str(run.path / "index.html"),
    }
    run.report(report)
    run.write("index.html", render(_page(run, found, floor, steered)))
    return report


def _page(run: RunFolder, found: list[Curve], floor: float, steered: list[Case]) -> Page:
    return Page(
        "The core, against exact answers",
        "A density in the plane whose every noisy version is known exactly stands in for the network, so "
        "what is measured is the method alone: no training, no luck.",
        (_samplers(run, found, floor), _steering(run, steered)),
        run_footer(run.record, disclaimer="Toy densities: they rank methods, not models."),
    )


def _samplers(run: RunFolder, found: list[Curve], floor: float) -> Section:
    columns = tuple(Column(f"{budget} calls", "", "lower", 3) for budget in BUDGETS)
    rows = [Row("floor", (Number(floor),) * len(BUDGETS))]
    rows += [Row(c.name, tuple(None if d > 99 else Number(d) for d in c.sw2)) for c in found]
    return Section(
        "Twelve samplers",
        "Eight blobs on a circle, noise from 80 down to 0.002. Distance of 2 000 samples to exact ones "
        "(sliced Wasserstein-2) against the calls of the network, which is what sampling costs. The default "
        "is at the floor after ten calls. Rules with two or four calls a step need more of them on this "
        "range of noise, and small steps of the reverse SDE need many.",
        (
            Picture(
                run.path / "samplers.png",
                "Error against calls of the network, both axes logarithmic; the dotted line is the distance "
                "between two sets of exact samples.",
                "Curves of twelve samplers falling towards the floor, the default one first.",
            ),
        ),
        (
            Table(
                columns,
                tuple(rows),
                first="sampler",
                note="A dash: farther than 99. Two-call rules use one call less where a budget is odd.",
            ),
        ),
        command="suffuse demo --core",
    )


def _steering(run: RunFolder, steered: list[Case]) -> Section:
    columns = (
        Column("SW2", "", "lower", 3),
        Column("floor", "", None, 3),
        Column("calls", "", None, 0),
    )
    rows = [
        Row(
            f"{c.name}: {c.question}",
            (
                None if c.sw2 is None else Number(c.sw2),
                None if c.floor is None else Number(c.floor),
                Number(c.calls),
            ),
        )
        for c in steered
    ]
    return Section(
        "Steering, against the exact steered law",
        "Grey: exact samples of what was asked for. Colour: what the method made. Adding the scores of two "
        "models is not their product, however many steps are taken; weighing and resampling the same run "
        "makes it exact. The gradient of a measurement comes close to the posterior; weights make it exact "
        "at the same cost.",
        (
            Picture(
                run.path / "steering.png",
                "One panel per method. SW2: distance to exact samples; floor: that of two exact sets.",
                "Eight scatter plots of exact and steered samples.",
            ),
        ),
        (Table(columns, tuple(rows), first="method", note="Calls of the network per sample."),),
        command="suffuse demo --core",
    )


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
