"""suffuse graphs prepare, evaluate, draw: what data alone are asked."""

from pathlib import Path
from typing import Annotated

import typer

from apps.commands.graphs_options import (
    DropLarge,
    Elements,
    Features,
    LargestFragment,
    Limit,
    MaxNodes,
    RunDir,
    SkipInvalid,
    SmilesCol,
    SplitFile,
    TestShare,
    reading,
    record_of,
    words_of,
)
from apps.options import AsJson, DataDir, Device, Force, Quiet, Seed

app = typer.Typer()


@app.command()
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            help="Named set (community_small, qm9 ...), built-in set (community, small_molecules ...), "
            "or a file: SMILES, CSV, Parquet, SDF, .npz, GraphML, edge list, .pt.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Archive to write, .npz.", show_default=False)],
    smiles_col: SmilesCol = None,
    properties: Annotated[
        str | None, typer.Option("--properties", help="Columns of numbers to keep: qed,logp.")
    ] = None,
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
    run: RunDir = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Check graphs or molecules, split them, and write one archive that opens at once."""
    from apps.claim import claimed, default_folder
    from apps.show import show
    from domains.graphs.workflows import prepare_file

    how = reading(
        smiles_col=smiles_col,
        properties=words_of(properties),
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
    folder = run or default_folder(out)
    config = {"source": source, "out": str(out), **record_of(how)}
    with claimed(
        folder, command="graphs prepare", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = prepare_file(source, out, how, overwrite=force, ready=claim.ready, progress=claim.progress)
        claim.report(report)
    hidden = () if as_json else ("warnings", "notes", "properties")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=folder)


@app.command()
def evaluate(
    gen: Annotated[
        str, typer.Option("--gen", help="Generated graphs or molecules: a file.", show_default=False)
    ],
    ref: Annotated[
        str,
        typer.Option(
            "--ref",
            help="Reference: a file, or a named set and its split: qm9:test. A name alone means test.",
            show_default=False,
        ),
    ],
    train: Annotated[
        str | None,
        typer.Option(
            "--train",
            help="Training set, for novelty and the floor.",
            show_default="the train split of a named reference",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="Which: validity,unique,fcd or degree,orbit,vun.", show_default="all"),
    ] = None,
    kernel: Annotated[str, typer.Option("--kernel", help="Of graphs: emd or tv.")] = "emd",
    prop: Annotated[
        str | None,
        typer.Option(
            "--valid", help="What a valid graph is: planar, sbm, tree.", show_default="by the reference"
        ),
    ] = None,
    floor: Annotated[bool, typer.Option(help="Compare training data with the reference too.")] = True,
    smiles_col: SmilesCol = None,
    skip_invalid: SkipInvalid = False,
    largest_fragment: LargestFragment = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    run: Annotated[
        Path | None, typer.Option("--run", help="Run folder.", show_default="runs/graphs-evaluate")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score generated graphs or molecules of any file, with the floor beside every score."""
    from apps.claim import claimed
    from apps.show import show
    from core.device import choose_device
    from domains.graphs.workflows import evaluate_file

    folder = run or Path("runs/graphs-evaluate")
    how = reading(
        smiles_col=smiles_col, skip_invalid=skip_invalid, largest_fragment=largest_fragment, data_dir=data_dir
    )
    config = {
        "gen": gen,
        "ref": ref,
        "train": train,
        "metrics": metrics,
        "kernel": kernel,
        "valid": prop,
        "floor": floor,
    }
    with claimed(
        folder, command="graphs evaluate", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = evaluate_file(
            gen,
            ref,
            train,
            metrics=words_of(metrics) or None,
            kernel=kernel,  # type: ignore[arg-type]  # checked there
            prop=prop,
            floor=floor,
            reading=how,
            seed=seed,
            device=str(choose_device(device).device),
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("warnings", "notes")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=folder)


@app.command()
def draw(
    source: Annotated[
        str, typer.Argument(help="File or named set of molecules or graphs.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Picture, .svg or .png.", show_default="SOURCE.svg")
    ] = None,
    grid: Annotated[str, typer.Option("--grid", help="Columns x rows.")] = "5x4",
    legends: Annotated[
        str | None, typer.Option("--legends", help="Properties below molecules: logp,qed,sa,weight.")
    ] = None,
    highlight: Annotated[
        str | None, typer.Option("--highlight", help="'scaffold', or a SMARTS to mark.", show_default=False)
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw molecules or graphs in a grid."""
    from apps.show import show
    from core.errors import ConfigError
    from domains.graphs.workflows import draw_file

    try:
        columns, rows = (int(word) for word in grid.lower().split("x"))
    except ValueError:
        raise ConfigError(f"'{grid}' is no grid.", hint="Write columns x rows, such as 5x4.") from None
    named = out or Path(f"{Path(source).name.partition(':')[0].split('.')[0]}.svg")
    report = draw_file(
        source,
        named,
        columns=columns,
        rows=rows,
        legends=words_of(legends),
        highlight=highlight,
        overwrite=force,
    )
    show(report, as_json=as_json)
