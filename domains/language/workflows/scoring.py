"""What texts cost under a model, document by document, or a set by a protocol."""

import json
from pathlib import Path
from typing import Any

from core.device import choose_device
from core.errors import ConfigError, unknown
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.language.formats.reading import Reading, read_documents
from domains.language.plots import draw_costs
from domains.language.protocols import PROTOCOLS, ZERO_SHOT, check_stream, protocol_blocks, zero_shot_tokens
from domains.language.scoring import score_documents, score_set, totals
from domains.language.sets import read_set
from domains.language.token_files import Prepared
from domains.language.workflows.opening import open_model, tokens_of

__all__ = ["evaluate_set", "score_files"]

DRAWN = 30  # documents in the picture


def score_files(
    run: str,
    files: list[Path],
    *,
    reading: Reading = Reading(unit="line"),
    draws: int = 16,
    exact_order: bool = False,
    normalise: bool = False,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Nats, perplexity and bits per byte of each document, and of all together.

    Args:
        reading: whether a document is a line, a paragraph or a file.
        draws: masks per block of a diffusion model.
        exact_order: score the order left to right, one evaluation per token.
        folder: receives `scores.jsonl` and `scores.png`.

    Raises:
        DataError: a file is empty or cannot be read or encoded.
    """
    where, note = choose_device(device)
    model = open_model(run, where)
    ends = "eos" if model.tokenizer.eos_id is not None else "none"
    prepared = Prepared(normalise=normalise, ends=ends)  # type: ignore[arg-type]
    how = "exactly" if model.config.kind == "causal" else f"by the any-order bound, {draws} draws a block"
    ready(
        Outlook(
            (f"score {', '.join(map(str, files))} with {run}, {how}", *([note] if note else [])),
            device=str(where),
        )
    )
    documents = (item for path in files for item in read_documents(path, reading))
    found = score_documents(
        model,
        documents,
        prepared=prepared,
        draws=draws,
        seed=seed,
        exact_order=exact_order,
        progress=progress,
    )
    rows = [score.row() for score in found]
    if folder is not None:
        body = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "scores.jsonl").write_text(body, encoding="utf-8")
        draw_costs([row["name"] for row in rows[:DRAWN]], rows[:DRAWN], folder / "scores.png")
    whole = totals(found)
    brief = ("name", "tokens", "nats_per_token", "nats_per_token_error", "perplexity", "bits_per_byte")
    return {
        "model": run,
        "documents": len(found),
        "estimate": "exact" if whole.exact else f"any-order bound, {whole.draws} draws",
        "total": whole.row(),
        "scores": [{key: row[key] for key in brief} for row in rows[:DRAWN]],
    }


def evaluate_set(
    run: str,
    name: str,
    *,
    protocol: str = "suffuse",
    split: str | None = None,
    file: Path | None = None,
    draws: int | None = None,
    most: int | None = None,
    beside: str | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a set by a protocol of `protocols`.

    Args:
        name: a set; of those in `protocols.ZERO_SHOT` the stream is built by their own rules, and checked
            against the published one when the tokenizer is that of GPT-2.
        split: "test" where there is one, else "valid", else "train".
        file: the user's copy of a licensed set.
        draws: masks per block; 16, or 1 by the protocol "mdlm".
        most: blocks scored, spread over the set.
        beside: another model, such as the causal baseline, scored on the same blocks.

    Raises:
        ConfigError: an unknown set, split or protocol.
        DataError: the stream is not the published one, or too short.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    where, note = choose_device(device)
    models = {one: open_model(one, where) for one in (run, *([beside] if beside else []))}
    words = models[run].tokenizer
    for one, model in models.items():
        if model.tokenizer.fingerprint != words.fingerprint:
            raise ConfigError(f"{one} has another tokenizer than {run}; their figures would not compare.")
    text_note, label = "", name
    if name in ZERO_SHOT and words.kind == "gpt2":
        documents = (
            read_documents(file, Reading(unit="line"))
            if file is not None
            else read_set(name, data_dir=data_dir).documents("test")
        )
        tokens = zero_shot_tokens(name, documents, words)
        check_stream(name, tokens)
    else:
        text = read_set(file or name, data_dir=data_dir)
        text_note, label = text.note, text.label
        part = split or next(one for one in ("test", "valid", "train") if one in text.splits)
        tokens = tokens_of(text, part, words, normalise=words.kind in ("char", "text8"))
    blocks = protocol_blocks(tokens, protocol, models[run].length)
    count = len(blocks) if most is None else min(most, len(blocks))
    draws = (1 if protocol == "mdlm" else 16) if draws is None else draws
    plan = (
        f"score {count} of {len(blocks)} blocks of {label} by the protocol {protocol} with "
        f"{', '.join(models)}",
        *([f"note: {text_note}"] if text_note else []),
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    rows = []
    for one, model in models.items():
        score = score_set(
            model,
            blocks,
            label,
            draws=draws,
            seed=seed,
            most=most,
            raw_bytes=tokens.raw_bytes,
            characters=tokens.characters,
            progress=progress,
        )
        rows.append(
            {"model": one, "estimate": "exact" if score.exact else f"bound, {draws} draws", **score.row()}
        )
    report: dict[str, Any] = {
        "set": label,
        "protocol": protocol,
        "length": models[run].length,
        "blocks": count,
        "note": text_note,
        "results": [
            {
                key: row[key]
                for key in (
                    "model",
                    "estimate",
                    "tokens",
                    "nats_per_token",
                    "nats_per_token_error",
                    "perplexity",
                    "bits_per_byte",
                    "bits_per_character",
                )
            }
            for row in rows
        ],
    }
    if folder is not None:
        (folder / "results.md").write_text(_table(report), encoding="utf-8")
    return report


def _table(report: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    lines = [
        f"{report['set']}, protocol {report['protocol']}, {report['blocks']} blocks of {report['length']}",
        "",
        "| model | estimate | nats per token | perplexity | bits per byte |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in report["results"]:
        byte = "" if row["bits_per_byte"] is None else f"{row['bits_per_byte']:.3f}"
        error = row["nats_per_token_error"]
        nats = f"{row['nats_per_token']:.4f}" + ("" if error is None else f" ± {error:.4f}")
        lines.append(f"| {row['model']} | {row['estimate']} | {nats} | {row['perplexity']:.2f} | {byte} |")
    return "\n".join(lines) + "\n"
