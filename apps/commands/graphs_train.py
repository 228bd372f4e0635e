"""suffuse graphs train, train-property, presets: models of anybody's graphs, and predictors to guide them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.graphs_options import (
    DropLarge,
    Elements,
    Features,
    LargestFragment,
    Limit,
    MaxNodes,
    Run,
    SkipInvalid,
    SmilesCol,
    SplitFile,
    TestShare,
    reading,
    record_of,
    words_of,
)
from apps.options import AsJson, DataDir, Device, Force, Quiet, Resume, Seed

app = typer.Typer()

SOURCE = (
    "Named set (community_small, qm9 ...), built-in set (community, small_molecules ...), or a file: "
    "SMILES, CSV, SDF, .npz, edge list."
)
PROPERTY = "qed, logp, sa, weight, RDKit's descriptors, or columns of the file; of graphs edges, density ..."


@app.command()
def train(
    source: Annotated[
        str | None, typer.Argument(help=SOURCE, show_default="the set that the preset is named after")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/graphs-train")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="See 'suffuse graphs presets'.", show_default="the set's own, or tiny")
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="gdss or transformer.", show_default="the preset's")
    ] = None,
    target: Annotated[str | None, typer.Option(help="score or clean.", show_default="the preset's")] = None,
    properties: Annotated[
        str | None,
        typer.Option("--property", help=f"Numbers that the network is told: {PROPERTY}", show_default="none"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    batch: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    lr: Annotated[float | None, typer.Option(show_default="the preset's")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting: width=64, sampling.steps=50.", show_default=False),
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="Samples drawn and scored at the end.")] = 20,
    smiles_col: SmilesCol = None,
    elements: Elements = None,
    max_nodes: MaxNodes = None,
    skip_invalid: SkipInvalid = False,
    drop_large: DropLarge = False,
    largest_fragment: LargestFragment = False,
    split_file: SplitFile = None,
    test_share: TestShare = 0.2,
    limit: Limit = None,
    features: Features = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a model of graphs or molecules; a few samples are scored beside the floor."""
    from apps.claim import claimed
    from apps.show import show
    from domains.graphs.workflows import train_file

    folder = out or Path("runs/graphs-train")
    told = words_of(properties)
    how = reading(
        smiles_col=smiles_col,
        elements=elements,
        max_nodes=max_nodes,
        skip_invalid=skip_invalid,
        drop_large=drop_large,
        largest_fragment=largest_fragment,
        split_file=split_file,
        test_share=test_share,
        limit=limit,
        features=features,
        data_dir=data_dir,
        seed=seed,
    )
    given = {"arch": arch, "target": target, "steps": steps, "batch": batch, "lr": lr}
    config = {
        "source": source,
        "preset": preset,
        **record_of(how),
        **given,
        "set": settings or [],
        "property": list(told),
        "samples": samples,
    }
    with claimed(
        folder,
        command="graphs train",
        config=config,
        seed=seed,
        force=force,
        resume=resume,
        quiet=quiet,
    ) as claim:
        report = train_file(
            source,
            folder,
            reading=how,
            preset=preset,
            given=given,
            settings=settings or (),
            properties=told,
            samples=samples,
            seed=seed,
            resume=resume,
            device=device,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else _brief(report), as_json=as_json, folder=folder)


@app.command("train-property")
def train_property(
    run: Run,
    source: Annotated[str, typer.Argument(help=SOURCE, show_default=False)],
    properties: Annotated[
        str, typer.Option("--property", "--target", help=f"What to predict: {PROPERTY}", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run folder.", show_default="runs/graphs-train-property"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 2000,
    batch: Annotated[int, typer.Option(min=1)] = 128,
    lr: Annotated[float, typer.Option()] = 2e-3,
    depth: Annotated[int, typer.Option(min=1, help="Blocks of the network.")] = 2,
    width: Annotated[int, typer.Option(min=4, help="Of its nodes, a multiple of 4.")] = 48,
    smiles_col: SmilesCol = None,
    skip_invalid: SkipInvalid = False,
    drop_large: DropLarge = False,
    largest_fragment: LargestFragment = False,
    split_file: SplitFile = None,
    test_share: TestShare = 0.2,
    limit: Limit = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a predictor of properties on the noisy graphs of a model, for 'suffuse graphs guide'."""
    from apps.claim import claimed
    from apps.show import show
    from domains.graphs.workflows import train_property_file

    folder = out or Path("runs/graphs-train-property")
    names = words_of(properties)
    how = reading(
        smiles_col=smiles_col,
        skip_invalid=skip_invalid,
        drop_large=drop_large,
        largest_fragment=largest_fragment,
        split_file=split_file,
        test_share=test_share,
        limit=limit,
        data_dir=data_dir,
        seed=seed,
    )
    own = {"steps": steps, "batch": batch, "lr": lr, "depth": depth, "width": width}
    config = {"model": run, "source": source, "property": list(names), **own, **record_of(how)}
    with claimed(
        folder,
        command="graphs train-property",
        config=config,
        seed=seed,
        force=force,
        resume=resume,
        quiet=quiet,
    ) as claim:
        report = train_property_file(
            run,
            source,
            folder,
            properties=names,
            reading=how,
            steps=steps,
            batch=batch,
            lr=lr,
            depth=depth,
            width=width,
            seed=seed,
            resume=resume,
            device=device,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report if as_json else _brief(report), as_json=as_json, folder=folder)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="Print all settings of one.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the presets of training, or the settings of one."""
    from apps.show import show
    from domains.graphs.config import PRESETS, preset_for

    if name is not None:
        show(preset_for(name).model_dump(mode="json"), as_json=as_json)
        return
    keys = ("arch", "target", "depth", "width", "steps", "batch", "lr")
    found = {preset: preset_for(preset) for preset in PRESETS}
    rows = [
        {"preset": preset, **{key: getattr(one, key) for key in keys}, "solver": one.sampling.solver}
        for preset, one in found.items()
    ]
    show({"presets": rows}, as_json=as_json)


def _brief(report: dict[str, Any]) -> dict[str, Any]:
    hidden = ("kind", "notes", "warnings", "properties")
    return {key: value for key, value in report.items() if key not in hidden}
