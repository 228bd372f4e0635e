"""suffuse language tokenizer, train, energy, score, evaluate and export: text in, models out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.commands.language_options import Encoding, Field, Normalize, Run, Source, Unit, reading, writing
from apps.options import AsJson, DataDir, Device, Force, Quiet, Resume, Seed

app = typer.Typer()
tokenizer = typer.Typer(no_args_is_help=True, help="Learn a tokenizer, or look at one.")
app.add_typer(tokenizer, name="tokenizer")
energy = typer.Typer(no_args_is_help=True, help="Train an energy that corrects a model's draws.")
app.add_typer(energy, name="energy")

Kind = Annotated[
    str | None, typer.Option("--kind", help="bpe, char or text8.", show_default="the text's own")
]
VocabSize = Annotated[
    int | None, typer.Option("--vocab-size", min=2, help="Tokens.", show_default="bpe: 4096")
]


@tokenizer.command("train")
def train_tokenizer(
    source: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder.", show_default=False)],
    kind: Annotated[str, typer.Option(help="bpe, char or text8.")] = "bpe",
    vocab_size: VocabSize = None,
    field: Field = "text",
    unit: Unit = None,
    encoding: Encoding = "utf-8",
    data_dir: DataDir = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Learn a vocabulary from text."""
    from apps.show import show
    from domains.language.workflows import tokenizer_file

    report = tokenizer_file(
        source,
        out,
        reading=reading(field, unit, encoding),
        kind=kind,
        vocab_size=vocab_size,
        data_dir=data_dir,
        overwrite=force,
    )
    show(report, as_json=as_json)


@tokenizer.command()
def inspect(
    folder: Annotated[Path, typer.Argument(help="Folder of a tokenizer or a model.", show_default=False)],
    text: Annotated[
        str | None, typer.Option("--text", "-t", help="What to encode.", show_default="a probe")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a tokenizer is and what it makes of a text."""
    from apps.show import show
    from domains.language.workflows import inspect_tokenizer

    report = inspect_tokenizer(folder) if text is None else inspect_tokenizer(folder, text)
    show(report if as_json else _joined(report), as_json=as_json)


@app.command()
def train(
    source: Source,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/language-train")
    ] = None,
    preset: Annotated[str, typer.Option(help="nano, char-tiny, words, mini, small or medium.")] = "char-tiny",
    model: Annotated[
        str | None, typer.Option("--model", help="radd, causal or uniform.", show_default="radd")
    ] = None,
    tokenizer_dir: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder of one; else one is learned.")
    ] = None,
    kind: Kind = None,
    vocab_size: VocabSize = None,
    length: Annotated[
        int | None, typer.Option("--length", min=2, help="Tokens of a block.", show_default="the preset's")
    ] = None,
    packing: Annotated[
        str | None, typer.Option(help="eos, bos_eos or pad_after_eos.", show_default="eos")
    ] = None,
    block: Annotated[
        int | None, typer.Option(min=1, help="Block-causal, with blocks of this length.", show_default="off")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="lambda-dce, ao, t-dce or t-dse.", show_default="the preset's")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    batch: Annotated[int | None, typer.Option(min=1, show_default="the preset's")] = None,
    lr: Annotated[float | None, typer.Option(show_default="the preset's")] = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also train a causal model of the same size.")
    ] = False,
    valid_blocks: Annotated[int, typer.Option(min=1, help="Validation blocks scored at the end.")] = 256,
    samples: Annotated[int, typer.Option(min=1, help="Texts written at the end.")] = 4,
    normalize: Normalize = False,
    field: Field = "text",
    unit: Unit = None,
    encoding: Encoding = "utf-8",
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a model of text; its bound stands beside an n-gram model, and a causal one with --baseline."""
    from apps.claim import claimed
    from apps.show import show
    from domains.language.workflows import train_text

    folder = out or Path("runs/language-train")
    changes = writing(
        {
            "kind": model,
            "length": length,
            "packing": packing,
            "block": block,
            "loss": loss,
            "steps": steps,
            "batch": batch,
            "lr": lr,
        }
    )
    config = {"source": source, "preset": preset, "baseline": baseline, **changes}
    with claimed(
        folder,
        command="language train",
        config=config,
        seed=seed,
        force=force,
        resume=resume,
        quiet=quiet,
    ) as claim:
        report = train_text(
            source,
            folder,
            reading=reading(field, unit, encoding),
            preset=preset,
            changes=changes,
            tokenizer=tokenizer_dir,
            kind=kind,
            vocab_size=vocab_size,
            normalise=normalize,
            baseline=baseline,
            valid_blocks=valid_blocks,
            samples=samples,
            data_dir=data_dir,
            seed=seed,
            resume=resume,
            device=device,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("samples",)
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=folder)
    if not as_json:
        print(report["samples"][0])


@energy.command("train")
def train_energy(
    run: Run,
    source: Source,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/language-energy")
    ] = None,
    steps: Annotated[int, typer.Option(min=1)] = 500,
    batch: Annotated[int, typer.Option(min=1, help="Pairs of a true and a drawn text.")] = 32,
    lr: Annotated[float, typer.Option()] = 3e-4,
    field: Field = "text",
    unit: Unit = None,
    encoding: Encoding = "utf-8",
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train an energy that tells true texts from a model's draws (EDLM by noise contrast)."""
    from apps.claim import claimed
    from apps.show import show
    from domains.language.workflows import energy_file

    folder = out or Path("runs/language-energy")
    config = {"model": run, "source": source, "steps": steps, "batch": batch, "lr": lr}
    with claimed(
        folder,
        command="language energy train",
        config=config,
        seed=seed,
        force=force,
        resume=resume,
        quiet=quiet,
    ) as claim:
        report = energy_file(
            run,
            source,
            folder,
            reading=reading(field, unit, encoding),
            steps=steps,
            batch=batch,
            lr=lr,
            data_dir=data_dir,
            seed=seed,
            resume=resume,
            device=device,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show({key: value for key, value in report.items() if key != "warnings"}, as_json=as_json, folder=folder)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder.", show_default=False)],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a model for sharing: config.json, model.safetensors and the tokenizer."""
    from apps.show import show
    from domains.language.workflows import export_model

    show(export_model(run, out, overwrite=force), as_json=as_json)


@app.command()
def score(
    run: Run,
    files: Annotated[list[Path], typer.Argument(help="Text files.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/language-score")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Masks per block.")] = 16,
    exact_order: Annotated[
        bool, typer.Option("--exact-order", help="Score the order left to right, token by token.")
    ] = False,
    normalize: Normalize = False,
    field: Field = "text",
    unit: Unit = "line",
    encoding: Encoding = "utf-8",
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score documents: nats, perplexity, bits per byte, with standard errors."""
    from apps.claim import claimed
    from apps.show import show
    from domains.language.workflows import score_files

    folder = out or Path("runs/language-score")
    config = {"model": run, "files": [str(path) for path in files], "draws": draws}
    with claimed(
        folder, command="language score", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = score_files(
            run,
            files,
            reading=reading(field, unit, encoding),
            draws=draws,
            exact_order=exact_order,
            normalise=normalize,
            seed=seed,
            device=device,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


@app.command()
def evaluate(
    run: Run,
    name: Annotated[str, typer.Argument(help="A set, such as books or wikitext2.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder.", show_default="runs/language-evaluate")
    ] = None,
    protocol: Annotated[str, typer.Option(help="radd, mdlm or suffuse.")] = "suffuse",
    split: Annotated[str | None, typer.Option(show_default="test, else valid")] = None,
    file: Annotated[Path | None, typer.Option(help="Your copy of a licensed set.")] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Masks per block.", show_default="16; 1 for mdlm")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Blocks scored, spread over the set.", show_default="all")
    ] = None,
    beside: Annotated[str | None, typer.Option(help="Another model, scored on the same blocks.")] = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score a set by a published protocol."""
    from apps.claim import claimed
    from apps.show import show
    from domains.language.workflows import evaluate_set

    folder = out or Path("runs/language-evaluate")
    config = {"model": run, "set": name, "protocol": protocol, "draws": draws, "blocks": blocks}
    with claimed(
        folder, command="language evaluate", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = evaluate_set(
            run,
            name,
            protocol=protocol,
            split=split,
            file=file,
            draws=draws,
            most=blocks,
            beside=beside,
            data_dir=data_dir,
            seed=seed,
            device=device,
            folder=folder,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=folder)


def _joined(report: dict[str, Any]) -> dict[str, Any]:
    """Lists as one line each."""
    return {
        key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in report.items()
    }
