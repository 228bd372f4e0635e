"""suffuse language generate, infill and models: what a trained model writes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.commands.language_options import (
    Folder,
    Guidance,
    MinP,
    Order,
    Plan,
    Repetition,
    Run,
    SamplingDtype,
    Steps,
    Temperature,
    Threshold,
    TopK,
    TopP,
    writing,
)
from apps.options import AsJson, Device, Force, Quiet, Seed

if TYPE_CHECKING:
    from domains.language.generation import Watch

app = typer.Typer()

Out = Annotated[
    Path, typer.Option("--out", "-o", help=".jsonl, a record per text, or .txt.", show_default=False)
]


@app.command()
def generate(
    run: Run,
    out: Out,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="Text to continue; may be repeated.")
    ] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="One prompt a line.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Texts per prompt.")] = 4,
    new: Annotated[
        int | None, typer.Option("--length", min=1, help="Tokens to write.", show_default="all that fit")
    ] = None,
    plan: Plan = None,
    steps: Steps = None,
    order: Order = None,
    threshold: Threshold = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition: Repetition = None,
    guidance: Guidance = None,
    eta: Annotated[float | None, typer.Option(help="Of remasking.", show_default="the plan's")] = None,
    block_length: Annotated[
        int | None,
        typer.Option(min=1, help="Write blocks of this length from left to right.", show_default="at once"),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Of blocks: none, exact; prefix or dual change the text.", show_default="none"),
    ] = None,
    eos_penalty: Annotated[
        float | None, typer.Option("--eos-penalty", help="Against ends that come early.", show_default="0")
    ] = None,
    sampling_dtype: SamplingDtype = None,
    truncate_left: Annotated[
        bool, typer.Option("--truncate-left", help="Drop the beginning of prompts that are too long.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Refuse options that change the law of the model.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the first text come out of its masks.")
    ] = False,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write texts, or continue prompts."""
    from apps.claim import claimed
    from apps.show import show
    from domains.language.workflows import generate_file

    where = folder or out.with_name(f"{out.name}.run")
    settings = writing(
        plan=plan,
        steps=steps,
        order=order,
        threshold=threshold,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition=repetition,
        guidance=guidance,
        eta=eta,
        block_length=block_length,
        cache=cache,
        eos_penalty=eos_penalty,
        sampling_dtype=sampling_dtype,
    )
    config = {"model": run, "n": n, "length": new, **settings}
    with claimed(
        where, command="language generate", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = generate_file(
            run,
            out,
            prompts=prompt or (),
            prompt_file=prompt_file,
            count=n,
            new=new,
            settings=settings,
            truncate_left=truncate_left,
            exact=exact,
            seed=seed,
            device=device,
            overwrite=force,
            watch=_watcher(run) if watch else None,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    hidden = () if as_json else ("settings", "written")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=where)
    if not as_json:
        _print_texts(report["written"])


@app.command()
def infill(
    run: Run,
    out: Out,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="With holes: [[3]] or [[2:5]] tokens; may be repeated."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="One text a line.")] = None,
    plan: Plan = None,
    steps: Steps = None,
    order: Order = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fill holes of known or unknown length in texts."""
    from apps.claim import claimed
    from apps.show import show
    from domains.language.workflows import infill_file

    where = folder or out.with_name(f"{out.name}.run")
    settings = writing(
        plan=plan,
        steps=steps,
        order=order,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
    )
    config = {"model": run, **settings}
    with claimed(
        where, command="language infill", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = infill_file(
            run,
            out,
            texts=text or (),
            file=file,
            settings=settings,
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        claim.report(report)
    show(report, as_json=as_json, folder=where)


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that ship, and what they score."""
    from apps.show import show
    from domains.language.weights import cards

    show({"models": cards()}, as_json=as_json)


def _watcher(run: str) -> "Watch":
    """Print the first text over itself as its masks open; ten lines of it without a terminal."""
    import sys

    from domains.language.workflows.opening import open_model

    tokenizer = open_model(run).tokenizer
    shown = {"lines": 0}

    def watch(number: int, rows: int, tokens: object) -> None:
        live = sys.stderr.isatty()
        if not live and number % max(rows // 10, 1) and number != rows:
            return
        text = tokenizer.decode(tokens[0].tolist(), mask="▒")  # type: ignore[index]
        lines = [text[i : i + 78] for i in range(0, len(text), 78)] if live else [text.replace("\n", "⏎")]
        if live and shown["lines"]:
            sys.stderr.write(f"\x1b[{shown['lines']}F\x1b[J")
        lines = [part for line in lines for part in line.split("\n")]
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
        shown["lines"] = len(lines)

    return watch


def _print_texts(texts: list[str]) -> None:
    for number, text in enumerate(texts):
        print(f"--- {number}")
        print(text)
