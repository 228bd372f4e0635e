"""suffuse language generate, infill, search and models: what a trained model writes."""

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
from apps.search_options import Budget, SearchMethod, Second

if TYPE_CHECKING:
    from domains.language.generation import Watch
    from domains.language.workflows import Correction

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
    energy: Annotated[
        str | None,
        typer.Option(help="ar, coar or nce: choose among several draws.", show_default="no energy"),
    ] = None,
    energy_model: Annotated[
        str | None, typer.Option("--energy-model", help="Causal model, or folder of an energy.")
    ] = None,
    candidates: Annotated[int, typer.Option(min=1, help="Draws that an energy chooses from.")] = 2,
    window: Annotated[float, typer.Option(help="Share of the time in which it does.")] = 0.2,
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

    correction = _correction(energy, energy_model, candidates, window)
    where = folder or out.with_name(f"{out.name}.run")
    settings = writing(
        {
            "plan": plan,
            "steps": steps,
            "order": order,
            "threshold": threshold,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition": repetition,
            "guidance": guidance,
            "eta": eta,
            "block_length": block_length,
            "cache": cache,
            "eos_penalty": eos_penalty,
            "sampling_dtype": sampling_dtype,
        }
    )
    config = {"model": run, "n": n, "length": new, "energy": energy, **settings}
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
            correction=correction,
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
        {
            "plan": plan,
            "steps": steps,
            "order": order,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
        }
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
def search(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help=".jsonl", show_default=False)],
    method: SearchMethod = None,
    verifier: Annotated[
        str | None,
        typer.Option(help="likelihood, energy, consistency, pattern or holding.", show_default=False),
    ] = None,
    second: Second = None,
    budget: Budget = None,
    judge: Annotated[
        str | None, typer.Option(help="Causal model of likelihood, folder of an energy.")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="A regular expression, or strings to hold by comma.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="Text to continue; may be repeated.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Texts per prompt.")] = 1,
    new: Annotated[
        int | None, typer.Option("--length", min=1, help="Tokens to write.", show_default="all that fit")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Rows of one run.")] = 32,
    order: Order = None,
    temperature: Temperature = None,
    folder: Folder = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search the noise of texts for what a verifier likes."""
    from apps.claim import claimed
    from apps.search_options import chosen
    from apps.search_plot import plot_search
    from apps.show import show
    from domains.language.workflows import search_file

    where = folder or out.with_name(f"{out.name}.run")
    settings = chosen(method or "random", verifier, budget, steps=steps)
    config = {"model": run, "search": method or "random", "verifier": verifier, "budget": settings.budget}
    with claimed(
        where, command="language search", config=config, seed=seed, force=force, quiet=quiet
    ) as claim:
        report = search_file(
            run,
            out,
            search=settings,
            verifier=str(verifier),
            second=second,
            judge=judge,
            words=words,
            prompts=prompt or (),
            count=n,
            new=new,
            settings=writing({"steps": steps, "order": order, "temperature": temperature}),
            seed=seed,
            device=device,
            overwrite=force,
            ready=claim.ready,
            progress=claim.progress,
        )
        plot_search(report["tried"], where / "search.png", searched=str(verifier), second=second)
        claim.report(report)
    hidden = () if as_json else ("tried", "written")
    show({key: value for key, value in report.items() if key not in hidden}, as_json=as_json, folder=where)
    if not as_json:
        _print_texts(report["written"])


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that ship, and what they score."""
    from apps.show import show
    from domains.language.weights import cards

    show({"models": cards()}, as_json=as_json)


def _correction(kind: str | None, model: str | None, candidates: int, window: float) -> "Correction | None":
    from core.errors import ConfigError
    from domains.language.workflows import Correction

    if kind is None:
        if model is not None:
            raise ConfigError("--energy-model was given without an energy.", hint="Add --energy ar.")
        return None
    if model is None:
        raise ConfigError(f"the energy '{kind}' needs a model.", hint="Pass --energy-model.")
    return Correction(kind, model, candidates, window)


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
