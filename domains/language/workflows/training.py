"""Training a text model; its bound on held-out text stands beside an n-gram model and a causal one."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.device import choose_device
from core.outlook import Outlook, Ready, at_once
from core.progress import Progress, silent
from domains.language.baseline import fit_ngram
from domains.language.config import Generation, TextConfig, preset_for
from domains.language.formats.reading import Reading
from domains.language.generation import generate
from domains.language.plots import draw_training
from domains.language.radd import TextModel
from domains.language.scoring import score_set
from domains.language.sets import TextSet, read_set
from domains.language.streams import blocks_of
from domains.language.token_files import TokenFile, divided
from domains.language.tokenizer import Tokenizer
from domains.language.training import train, untrained
from domains.language.workflows.opening import open_tokenizer, tokens_of

__all__ = ["train_text"]

ORDERS = {"char": 5, "text8": 5}  # of the n-gram yardstick; 2 for words


def train_text(
    source: str,
    folder: Path,
    *,
    reading: Reading = Reading(),
    preset: str = "char-tiny",
    changes: Mapping[str, Any] | None = None,
    tokenizer: Path | None = None,
    kind: str | None = None,
    vocab_size: int | None = None,
    normalise: bool = False,
    baseline: bool = False,
    valid_blocks: int = 256,
    draws: int = 8,
    samples: int = 4,
    data_dir: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    device: str = "auto",
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a model, score it on the validation split and write a few samples.

    Args:
        source: a set of `sets.read_set` or a path; a path without splits is cut 95 : 5.
        changes: settings that replace those of the preset.
        tokenizer: folder of one; None learns one of `kind`, by default the set's own.
        normalise: replace characters that the tokenizer lacks.
        baseline: also train a causal model of the same size for as many steps, into `folder`/causal.
        valid_blocks, draws: how much of the validation text is scored, with how many masks a block.

    Returns:
        Report: bound, causal score and gap in bits per token, n-gram model, samples.

    Raises:
        ConfigError, DataError: see `read_set`, `preset_for`, `blocks_of`.
    """
    where, note = choose_device(device)
    config = preset_for(preset, changes)
    text = read_set(source, reading, data_dir=data_dir)
    words, line = open_tokenizer(text, tokenizer, kind, vocab_size)
    fitting, held = _splits(text, words, normalise, config)
    blocks = blocks_of(fitting, config.length, config.packing)
    valid = blocks_of(held, config.length, config.packing) if held.count >= config.length else None
    size = sum(weight.numel() for weight in untrained(config, words.size).net.parameters())
    plan = (
        f"train {config.kind} on {text.label}: {fitting.count:,} tokens, preset {preset}, "
        f"{size:,} parameters",
        line,
        f"{config.steps:,} steps of {config.batch} blocks of {config.length} tokens"
        + (", then a causal model of the same size" if baseline else ""),
        *((f"note: {text.note}",) if text.note else ()),
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    report: dict[str, Any] = {
        "model": str(folder / "model.safetensors"),
        "text": text.label,
        "tokenizer": words.kind,
        "vocabulary": words.size,
        "parameters": size,
        "steps": config.steps,
        "note": text.note,
    }
    models: dict[str, TextModel] = {}
    for name, settings, place in _runs(config, folder, baseline):
        models[name] = train(
            blocks,
            words,
            settings,
            seed=seed,
            folder=place,
            resume=resume,
            device=where,
            preset=preset,
            source=text.label,
            progress=progress,
        )
    if valid is not None:
        report |= _scored(models, valid, fitting, held, words, valid_blocks, draws, seed, progress)
    first = models[next(iter(models))]
    how = (
        Generation(plan="first-hitting", order="left")
        if config.kind == "causal"
        else Generation(steps=min(config.length, 128))
    )
    count = config.length if config.block is None else config.length - config.length % config.block
    made = generate(first, [[]] * samples, new=count - (config.block or 0), settings=how, seed=seed)
    report["samples"] = [words.decode(entry.ids) for entry in made]
    (folder / "samples.txt").write_text("\n\n".join(report["samples"]) + "\n", encoding="utf-8")
    draw_training(
        {name: place for name, _, place in _runs(config, folder, baseline)},
        folder / "loss.png",
        config.length,
    )
    return report


def bits_or_none(nats: float) -> float | None:
    """Nats in bits; None for what is not known, such as the error of a single block."""
    return nats / math.log(2) if math.isfinite(nats) else None


def _runs(config: TextConfig, folder: Path, baseline: bool) -> list[tuple[str, TextConfig, Path]]:
    runs: list[tuple[str, TextConfig, Path]] = [(config.kind, config, folder)]
    if baseline and config.kind != "causal":
        causal = config.model_copy(update={"kind": "causal", "block": None})
        runs.append(("causal", causal, folder / "causal"))
    return runs


def _splits(
    text: TextSet, words: Tokenizer, normalise: bool, config: TextConfig
) -> tuple[TokenFile, TokenFile]:
    """Training and validation streams; a text without a validation split gives its last twentieth."""
    whole = tokens_of(text, "train", words, normalise=normalise)
    blocks_of(whole, config.length, config.packing)  # says how many tokens there are, and are needed
    if "valid" in text.splits:
        return whole, tokens_of(text, "valid", words, normalise=normalise)
    return divided(whole, 0.05)


def _scored(
    models: Mapping[str, TextModel],
    valid: Any,
    fitting: TokenFile,
    held: TokenFile,
    words: Tokenizer,
    most: int,
    draws: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Scores of all models on the validation text, in bits per token."""
    rows: list[dict[str, Any]] = []
    for name, model in models.items():
        if model.config.kind == "uniform":
            continue
        score = score_set(
            model,
            valid,
            "validation",
            draws=draws,
            seed=seed,
            most=most,
            raw_bytes=held.raw_bytes,
            characters=held.characters,
            progress=progress,
        )
        rows.append(
            {
                "model": name,
                "what": "exact" if score.exact else f"bound, {draws} draws",
                "bits_per_token": score.per_token / math.log(2),
                "standard_error": bits_or_none(score.error / score.tokens),
                "perplexity": score.perplexity,
                "bits_per_byte": score.bits_per_byte,
            }
        )
    order = ORDERS.get(words.kind, 2)
    ngram = fit_ngram(fitting.ids, words.size, order)
    nats = -ngram.log_prob(held.ids[: most * valid.length]).mean()
    per_byte = held.count / held.raw_bytes if held.raw_bytes else None
    rows.append(
        {
            "model": f"{order + 1}-gram",
            "what": "exact",
            "bits_per_token": float(nats / math.log(2)),
            "standard_error": None,
            "perplexity": math.exp(nats),
            "bits_per_byte": None if per_byte is None else float(nats / math.log(2) * per_byte),
        }
    )
    found: dict[str, Any] = {"validation": rows}
    by_name = {row["model"]: row["bits_per_token"] for row in rows}
    if "causal" in by_name and len(models) > 1:
        first = next(iter(models))
        found["gap_bits_per_token"] = by_name[first] - by_name["causal"]
    return found
