"""Tasks of lm-evaluation-harness on local files: their data, and one call that runs them.

    task               file                                              asks for
    suffuse_lambada    {"text"}, detokenised passages                    the last word: accuracy, perplexity
    suffuse_wikitext2  {"text", "words", "bytes"}, whole articles        perplexity per raw word and byte
    suffuse_choice     {"question", "choices", "answer"}, a template     multiple choice

The tasks are in `tasks/` as YAML. Those that come with the harness need downloads; these do not.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.errors import DataError, unknown
from core.extras import require
from domains.language.detokenize import detokeniser
from domains.language.formats.reading import Document
from domains.language.harness import harness_model
from domains.language.radd import TextModel

__all__ = ["TASKS", "TASKS_FOLDER", "prepare_task", "run_tasks"]

TASKS_FOLDER = Path(__file__).parent / "tasks"
TASKS = ("suffuse_choice", "suffuse_lambada", "suffuse_wikitext2")


def prepare_task(task: str, documents: Iterable[Document], path: Path) -> int:
    """Write the file of a task from documents of its set; returns the number of lines.

    Args:
        task: "suffuse_lambada" from passages, or "suffuse_wikitext2" from the rows of the raw test file.
        path: a `.jsonl` file, replaced if it is there.

    Raises:
        ConfigError: another task.
        DataError: there is no document.
    """
    makers = {"suffuse_lambada": _passages, "suffuse_wikitext2": _articles}
    if task not in makers:
        raise unknown("task", task, makers)
    lines = [json.dumps(entry, ensure_ascii=False) for entry in makers[task](documents)]
    if not lines:
        raise DataError("there is no document for the task.", hint="Give the test file of the set.")
    part = path.with_name(f"{path.name}.part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(path)
    return len(lines)


def run_tasks(
    model: TextModel,
    files: Mapping[str, Path],
    *,
    limit: int | None = None,
    draws: int = 16,
    seed: int = 0,
    chunk: int = 32,
) -> dict[str, dict[str, Any]]:
    """Run tasks on local files, with no request to any server: this sets the harness's offline switches.

    Args:
        files: by name of the task.
        limit: documents per task; None runs all.
        draws, seed, chunk: of `harness.Scorer`.

    Returns:
        Metrics by task, as the harness names them ("acc,none"), with their standard errors.

    Raises:
        MissingExtra: `lm-eval` is not installed.
        ConfigError, DataError: a task is unknown, or its file is not there.
    """
    for name, path in files.items():
        if name not in TASKS:
            raise unknown("task", name, TASKS)
        if not path.is_file():
            raise DataError(f"there is no {path} for the task {name}.", hint="Write it with prepare_task.")
    for switch in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(switch, "1")
    harness: Any = require("lm_eval", extra="lm-eval")
    with TemporaryDirectory() as folder:
        for name, path in files.items():
            entry = {
                "include": str(TASKS_FOLDER / f"{name}.yaml"),
                "task": name,
                "dataset_kwargs": {"data_files": {"test": str(path.resolve())}, "cache_dir": folder},
            }
            (Path(folder) / f"{name}.yaml").write_text(json.dumps(entry), encoding="utf-8")  # JSON is YAML
        manager = require("lm_eval.tasks", extra="lm-eval").TaskManager(
            include_path=folder, include_defaults=False
        )
        found = harness.simple_evaluate(
            model=harness_model(model, draws=draws, seed=seed, chunk=chunk),
            tasks=list(files),
            task_manager=manager,
            limit=limit,
            bootstrap_iters=1000,
        )
    return {name: dict(found["results"][name]) for name in files}


def _passages(documents: Iterable[Document]) -> Iterable[dict[str, Any]]:
    clean = detokeniser("lambada")
    return ({"text": clean(item.text).strip()} for item in documents)


def _articles(documents: Iterable[Document]) -> Iterable[dict[str, Any]]:
    """Rows of WikiText joined into articles: a row " = Title = " begins one, " = = Part = = " does not."""
    clean = detokeniser("wikitext")
    held: list[str] = []

    def joined() -> dict[str, Any]:
        raw = "".join(held)
        return {"text": clean(raw), "words": len(raw.split()), "bytes": len(raw.encode("utf-8"))}

    for item in documents:
        row = item.text if item.text.endswith("\n") else item.text + "\n"
        bare = row.strip()
        title = bare.startswith("= ") and bare.endswith(" =") and not bare.startswith("= =")
        if title and "".join(held).strip():
            yield joined()
            held = []
        held.append(row)
    if "".join(held).strip():
        yield joined()
