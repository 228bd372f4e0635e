"""Texts that a verifier likes, found by spending more evaluations on their noise."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from core.atomic import replacing
from core.device import choose_device
from core.errors import ConfigError, unknown
from core.infer.search import Search, tried
from core.outlook import Outlook, Ready, at_once, check_output, many
from core.progress import Progress, silent
from domains.language.energy_training import load_energy
from domains.language.generation import denoiser_of
from domains.language.radd import TextModel
from domains.language.search import (
    Consistent,
    Holding,
    LogLikelihood,
    LowEnergy,
    Pattern,
    best_of,
    search_texts,
)
from domains.language.workflows.opening import open_model
from domains.language.workflows.writing import generation

__all__ = ["search_file", "verifier_of"]

VERIFIERS = ("likelihood", "energy", "consistency", "pattern", "holding")


def verifier_of(name: str, model: TextModel, judge: str | None, words: str | None) -> Any:
    """A verifier by its name.

    Args:
        judge: causal model of "likelihood", folder of "energy".
        words: regular expression of "pattern", strings of "holding" parted by commas.

    Raises:
        ConfigError: an unknown name, or what it needs is missing.
    """
    if name not in VERIFIERS:
        raise unknown("verifier", name, VERIFIERS)
    if name in ("likelihood", "energy") and judge is None:
        raise ConfigError(f"the verifier '{name}' needs a model.", hint="Pass --judge.")
    if name in ("pattern", "holding") and not words:
        raise ConfigError(f"the verifier '{name}' needs words.", hint="Pass --words.")
    if name == "likelihood":
        found = open_model(str(judge), model.device)
        if found.config.kind != "causal" or found.tokenizer.fingerprint != model.tokenizer.fingerprint:
            raise ConfigError(f"{judge} is no causal model of the same tokenizer.")
        return LogLikelihood(found.net)
    if name == "energy":
        return LowEnergy(load_energy(Path(str(judge)).expanduser(), model))
    if name == "consistency":
        return Consistent(denoiser_of(model))
    if name == "pattern":
        return Pattern(str(words), model.tokenizer)
    return Holding(tuple(str(words).split(",")), model.tokenizer)


def search_file(
    run: str,
    out: Path,
    *,
    search: Search,
    verifier: str,
    second: str | None = None,
    judge: str | None = None,
    words: str | None = None,
    prompts: Sequence[str] = (),
    count: int = 1,
    new: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Continue prompts by the best text of a search each.

    Args:
        search: method and budget, in evaluations of generator and verifier.
        second: a verifier that is reported and not searched on, to see what was over-optimised.

    Returns:
        Scores, what was spent, and the best score after growing numbers of candidates.

    Raises:
        ConfigError: the budget is too small, or verifiers lack what they need.
    """
    where, note = choose_device(device)
    model = open_model(run, where)
    check_output(out, (".jsonl",), overwrite=overwrite)
    how = generation(model, settings or {})
    main = verifier_of(verifier, model, judge, words)
    other = None if second is None else verifier_of(second, model, judge, words)
    given = [text for text in (list(prompts) or [""]) for _ in range(count)]
    ids = [model.tokenizer.encode(text, source="prompt") for text in given]
    new = new or max(model.length - max(map(len, ids)), 1)
    line = f"search ({search.method}) for {many(len(given), 'text')} of {new} tokens by {verifier}, "
    line += f"{search.budget} evaluations each"
    ready(Outlook((line, *([note] if note else [])), device=str(where)))
    found = search_texts(
        model,
        ids,
        new=new,
        verifier=main,
        second=other,
        settings=search,
        generation=how,
        seed=seed,
        progress=progress,
    )
    records = [
        {
            "id": number,
            "prompt": given[number],
            "text": model.tokenizer.decode(entry.ids),
            "score": float(entry.found.scores[0, 0]),
            "second": None if entry.found.second is None else float(entry.found.second[0]),
            "nfe": entry.found.calls,
        }
        for number, entry in enumerate(found)
    ]
    with replacing(out, overwrite=True) as part:
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in records), "utf-8")
    report: dict[str, Any] = {
        "model": run,
        "output": str(out),
        "search": search.method,
        "verifier": verifier,
        "second": second,
        "texts": len(found),
        "score": float(torch.stack([entry.found.scores[0, 0] for entry in found]).mean()),
        "evaluations": found[0].found.calls,
        "written": [row["text"] for row in records[:4]],
        "tried": tried(found[0].found),
    }
    if search.method != "paths":
        report["best_of"] = [grown._asdict() for grown in best_of(found[0].found)]
    return report
