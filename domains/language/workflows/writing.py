"""Writing texts and filling holes, into JSON lines with what each cost and how it was drawn."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.atomic import replacing
from core.device import choose_device
from core.errors import ConfigError, DataError
from core.outlook import Outlook, Ready, at_once, check_output, many
from core.plan import expected_evaluations
from core.progress import Progress, silent
from domains.language.config import Generation, checked
from domains.language.generation import Watch, check, generate
from domains.language.holes import parse_holes
from domains.language.infill import infill
from domains.language.metrics import distinct, unigram_entropy
from domains.language.plans import plan_for
from domains.language.radd import TextModel
from domains.language.workflows.correcting import Correction
from domains.language.workflows.opening import open_model

__all__ = ["generate_file", "infill_file"]

SUFFIXES = (".jsonl", ".txt")


def generate_file(
    run: str,
    out: Path,
    *,
    prompts: Sequence[str] = (),
    prompt_file: Path | None = None,
    count: int = 4,
    new: int | None = None,
    settings: Mapping[str, Any] | None = None,
    truncate_left: bool = False,
    exact: bool = False,
    correction: Correction | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    watch: Watch | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Continue prompts, or write from nothing.

    Args:
        run: folder or file of a model, or the name of one that ships.
        out: .jsonl (a record per text) or .txt.
        prompts: texts to continue; none writes from nothing.
        prompt_file: one prompt a line, beside `prompts`.
        count: texts per prompt.
        new: tokens to write; all that fit by default.
        settings: fields of `Generation`; the defaults of the model's kind otherwise.
        truncate_left: drop the beginning of prompts that are too long.
        exact: refuse settings that change the law of the model.
        correction: an energy that chooses among several draws.

    Returns:
        Counts, evaluations beside their expectation, and the diversity of what was written.

    Raises:
        ConfigError: settings that contradict each other, or an output that exists.
        DataError: a prompt is too long or cannot be encoded.
    """
    where, note = choose_device(device)
    model = open_model(run, where)
    check_output(out, SUFFIXES, overwrite=overwrite)
    how = generation(model, settings or {})
    steer = None if correction is None else correction.steer(model)
    if exact and not (how.exact and steer is None):
        raise ConfigError(
            "--exact was asked for, but order, temperature, truncation, guidance, cache or energy change the "
            "law.",
            hint="Leave out --exact or those options.",
        )
    if count < 1:
        raise ConfigError(f"at least 1 text must be asked for, got {count}.")
    given = [*prompts, *_lines(prompt_file)] or [""]
    ids = [model.tokenizer.encode(text, source="prompt") for text in given]
    room = model.length - (how.block_length or model.config.block or 1)
    if truncate_left:
        ids = [entry[-room:] if room else [] for entry in ids]
    longest = max(map(len, ids))
    blocks = how.block_length is not None
    new = new or max(model.length - longest, 0) or (model.length if blocks else 1)
    rows = [entry for entry in ids for _ in range(count)]
    check(model, rows, new, how)
    plan = plan_for(model.process, how, new)
    lines = (
        f"write {many(len(rows), 'text')} of up to {new} tokens with {run}",
        f"{plan.name}, {len(plan.rows)} rows, {'exact' if how.exact else 'not exact'}, "
        f"draws in {how.sampling_dtype}",
        f"write {out}",
        *([] if correction is None else [str(correction)]),
        *([note] if note else []),
    )
    ready(Outlook(lines, device=str(where)))
    start = time.process_time()
    found = generate(
        model, rows, new=new, settings=how, seed=seed, steer=steer, watch=watch, progress=progress
    )
    spent = time.process_time() - start
    used = how.model_dump(mode="json") | {
        "seed": seed,
        "exact": how.exact,
        "approx_cache": how.cache in ("prefix", "dual"),
    }
    records = [
        {
            "id": number,
            "prompt": given[number // count],
            "text": model.tokenizer.decode(entry.ids),
            "ids": list(entry.ids),
            "n_new": len(entry.ids),
            "stop_reason": entry.stop,
            "nfe": entry.evaluations,
            "cpu_seconds": spent / len(found),
            "settings": used,
        }
        for number, entry in enumerate(found)
    ]
    _write(out, records)
    texts = [entry.ids for entry in found]
    report: dict[str, Any] = {
        "model": run,
        "output": str(out),
        "texts": len(found),
        "tokens": sum(map(len, texts)),
        "evaluations_per_text": sum(entry.evaluations for entry in found) / len(found),
        "sampling_dtype": how.sampling_dtype,
        "exact": how.exact and steer is None,
        "energy": None if correction is None else str(correction),
        "entropy_nats": unigram_entropy(texts).mean,
        "distinct_2": distinct(texts, 2) if any(len(ids) > 1 for ids in texts) else None,
        "cpu_seconds_per_text": spent / len(found),
        "settings": used,
        "written": [record["text"] for record in records[:4]],
    }
    if (
        how.plan == "unmask"
        and how.order == "random"
        and how.block_length is None
        and model.config.block is None
    ):
        report["evaluations_expected"] = expected_evaluations(plan, new) * (2 if how.guidance else 1)
    return report


def infill_file(
    run: str,
    out: Path,
    *,
    texts: Sequence[str] = (),
    file: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fill the holes of texts.

    Args:
        texts: with holes `[[n]]` or `[[n:m]]`.
        file: one text a line, beside `texts`.

    Raises:
        DataError: there is no text, a hole is not written right, or does not fit.
    """
    where, note = choose_device(device)
    model = open_model(run, where)
    check_output(out, SUFFIXES, overwrite=overwrite)
    how = generation(model, settings or {})
    given = [*texts, *_lines(file)]
    if not given:
        raise DataError("there is no text with holes.", hint="Pass one, or a file with --file.")
    pieces = [parse_holes(text, source=f"text {i + 1}") for i, text in enumerate(given)]
    ready(
        Outlook(
            (
                f"fill the holes of {many(len(given), 'text')} with {run}",
                f"write {out}",
                *([note] if note else []),
            ),
            device=str(where),
        )
    )
    found = infill(model, pieces, settings=how, seed=seed, progress=progress)
    records = [
        {
            "id": number,
            "marked": given[number],
            "text": model.tokenizer.decode(entry.ids),
            "lengths": list(entry.lengths),
            "filled": [model.tokenizer.decode(entry.ids[a:b]) for a, b in entry.spans],
            "nats_per_token": entry.nats_per_token,
            "lengths_tried": entry.tried,
            "nfe": entry.evaluations,
            "settings": how.model_dump(mode="json") | {"seed": seed},
        }
        for number, entry in enumerate(found)
    ]
    _write(out, records)
    return {
        "model": run,
        "output": str(out),
        "texts": len(found),
        "filled": [
            {key: record[key] for key in ("text", "lengths", "nats_per_token", "lengths_tried", "nfe")}
            for record in records
        ],
    }


def generation(model: TextModel, settings: Mapping[str, Any]) -> Generation:
    """Settings on top of what suits the kind of a model: a causal one writes from left to right."""
    own = {"plan": "first-hitting", "order": "left"} if model.config.kind == "causal" else {}
    return checked(Generation, {**own, **settings})


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except OSError as err:
        raise DataError(f"{path} cannot be read: {err.strerror}.", hint="Check the path.") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{path} is not UTF-8 at byte {err.start}.", hint="Save it as UTF-8.") from err


def _write(out: Path, records: Sequence[Mapping[str, Any]]) -> None:
    if out.suffix == ".txt":
        body = "\n\n".join(str(record["text"]) for record in records) + "\n"
    else:
        body = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out, overwrite=True) as part:
        part.write_text(body, encoding="utf-8")
