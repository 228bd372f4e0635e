"""Options that the commands of the graphs domain share, spelt and explained once."""

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Chunk",
    "DropLarge",
    "Elements",
    "Features",
    "LargestFragment",
    "Limit",
    "MaxNodes",
    "Out",
    "Prior",
    "Run",
    "RunDir",
    "ScaleEps",
    "Sizes",
    "SkipInvalid",
    "SmilesCol",
    "Snr",
    "Solver",
    "SplitFile",
    "Steps",
    "TestShare",
    "reading",
    "record_of",
    "sampling",
    "words_of",
]

SmilesCol = Annotated[
    str | None, typer.Option("--smiles-col", help="Column of SMILES.", show_default="found by name")
]
Elements = Annotated[
    str | None,
    typer.Option(
        "--elements", help="Elements allowed: C,N,O,F.", show_default="the set's, or those that occur"
    ),
]
MaxNodes = Annotated[
    int | None,
    typer.Option("--max-nodes", min=1, help="Largest graph held.", show_default="the set's, or the largest"),
]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave out rows that are no molecule of the vocabulary.")
]
DropLarge = Annotated[bool, typer.Option("--drop-large", help="Leave out what has more nodes than that.")]
LargestFragment = Annotated[
    bool, typer.Option("--largest-fragment", help="Keep the largest fragment of salts and mixtures.")
]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split-file", help='JSON of row numbers from 0: {"test": [3, 5]}.', show_default=False),
]
TestShare = Annotated[
    float, typer.Option("--test-share", min=0, max=0.99, help="Share held out of a source without splits.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=2, help="Graphs to take, drawn at random.", show_default="all"),
]
Features = Annotated[
    int | None,
    typer.Option(
        "--features", min=1, help="Degrees held by generic graphs.", show_default="the largest plus 1"
    ),
]
RunDir = Annotated[Path | None, typer.Option("--run", help="Run folder.", show_default="beside the output")]
Run = Annotated[
    str,
    typer.Argument(
        help="Folder or weights of a model, or one that ships: see 'suffuse graphs models'.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Molecules: .smi .csv .sdf .npz .pt; graphs: .npz .pt .edges.",
        show_default=False,
    ),
]
Solver = Annotated[
    str | None,
    typer.Option("--solver", help="s4, em, reverse, ode, default or ancestral.", show_default="the model's"),
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Steps of the sampler.", show_default="the model's")
]
Prior = Annotated[
    str | None,
    typer.Option("--prior", help="normal, or matched: better with few steps.", show_default="the model's"),
]
Snr = Annotated[
    float | None,
    typer.Option("--snr", help="Of the Langevin corrector; 0 for none.", show_default="the model's"),
]
ScaleEps = Annotated[
    float | None,
    typer.Option("--scale-eps", help="Factor of the corrector's noise.", show_default="the model's"),
]
Chunk = Annotated[
    int | None,
    typer.Option("--chunk", min=1, help="Graphs at once, by memory.", show_default="the model's"),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        help="Nodes: train, fixed:12, or a file (one number a line, or graphs to draw sizes from).",
        show_default="train",
    ),
]


def words_of(text: str | None) -> tuple[str, ...]:
    """The words of a list by comma."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def sampling(
    solver: str | None = None,
    steps: int | None = None,
    prior: str | None = None,
    snr: float | None = None,
    scale_eps: float | None = None,
    chunk: int | None = None,
) -> dict[str, Any]:
    """The options of sampling as fields of its settings; None where an option was not given."""
    found: dict[str, Any] = {
        "solver": solver,
        "steps": steps,
        "prior": prior,
        "snr": snr or None,
        "scale_eps": scale_eps,
        "chunk": chunk,
    }
    return found | ({} if snr is None else {"corrector": snr != 0})


def reading(
    *,
    smiles_col: str | None = None,
    properties: tuple[str, ...] = (),
    elements: str | None = None,
    max_nodes: int | None = None,
    skip_invalid: bool = False,
    drop_large: bool = False,
    largest_fragment: bool = False,
    split_file: Path | None = None,
    test_share: float = 0.2,
    limit: int | None = None,
    features: int | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
) -> Any:
    """The options of reading as a `Reading` of the domain."""
    from domains.graphs.formats.reading import Reading
    from domains.graphs.molecules import Accept

    accept = Accept(words_of(elements) or None, max_nodes, skip_invalid, drop_large, largest_fragment)
    return Reading(
        accept=accept,
        smiles_col=smiles_col,
        properties=properties,
        split_file=split_file,
        limit=limit,
        test_share=test_share,
        seed=seed,
        features=features,
        data_dir=data_dir,
    )


def record_of(how: Any) -> dict[str, Any]:
    """A reading as plain values for `run.json`."""
    kept = {key: value for key, value in vars(how).items() if key not in ("accept", "seed")}
    return {**vars(how.accept), **kept}
