"""Drawing frames from a prior, with or without a search for better ones."""

from pathlib import Path
from typing import Any

import numpy as np

from core.device import choose_device
from core.errors import ConfigError
from core.infer.search import Search, cost, named, tried
from core.progress import Progress, silent
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.dispatch import write
from domains.ultrasound.plots import plot_bmode
from domains.ultrasound.prior import Prior, companded, load_prior
from domains.ultrasound.sampling import VERIFIERS, Drawn, draw_frames, plan_of
from domains.ultrasound.weights import shipped
from domains.ultrasound.workflows.outlook import LINE_FILES, Outlook, Ready, at_once, check_output, many
from domains.ultrasound.workflows.training import simulated_frames

__all__ = ["sample_file"]

REAL = 4  # simulated frames that the scores are compared with


def sample_file(
    out: Path,
    *,
    prior: str = "tissue",
    n: int = 4,
    shape: tuple[int, int] = (96, 64),
    steps: int = 20,
    search: Search | None = None,
    verifier: str | None = None,
    second: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Draw frames from a prior and write them as lines.

    Args:
        prior: "tissue" or "haze" for the shipped ones, or a checkpoint.
        shape: samples and lines of a frame.
        search: how noise is searched; None draws once per frame.
        verifier, second: names of `VERIFIERS`, what is searched for and what is only reported.

    Returns:
        Report: every verifier's score of each frame, beside that of frames drawn without a search and of
        simulated ones; evaluations per frame; every candidate of a search.
    """
    check_output(out, LINE_FILES, overwrite=overwrite)
    if n < 1 or steps < 1 or min(shape) < 16:
        raise ConfigError(f"expected n and steps >= 1 and frames of 16 x 16 up, got {n}, {steps}, {shape}.")
    sought = [] if search is None else named(verifier or "", VERIFIERS)
    other = None if search is None else second or next(k for k in VERIFIERS if k not in (verifier or ""))
    aside = None if other is None else named(other, VERIFIERS)[0]
    where, note = choose_device(device)
    model = load_prior(Path(prior) if Path(prior).suffix else shipped(prior))
    model.denoiser.to(where)
    plan = plan_of(model, steps, search)
    if search is not None and search.budget < (least := cost(search, plan)):
        raise ConfigError(
            f"a budget of {search.budget} is too small: {search.method} search needs {least} evaluations.",
            hint="Raise --budget or take fewer --steps.",
        )
    spent = plan.evaluations if search is None else search.budget
    plan_lines = _plan(model, n, shape, spent, search, verifier, out)
    ready(Outlook((*plan_lines, *([note] if note else [])), device=str(where)))
    frames: list[Drawn] = []
    for index in range(n):
        progress("sample", index, n, None)
        frames.append(
            draw_frames(
                model,
                1,
                shape,
                steps=steps,
                seed=seed + index,
                settings=search,
                verifiers=sought,
                second=aside,
            )
        )
    free = frames if search is None else [draw_frames(model, n, shape, steps=steps, seed=seed)]
    progress("sample", n, n, None)
    lines = np.concatenate([drawn.lines.numpy() for drawn in frames])
    out.parent.mkdir(parents=True, exist_ok=True)
    write(Record("beamformed_data", lines, Geometry()), out, overwrite=overwrite)
    report: dict[str, Any] = {
        "output": str(out),
        "prior": model.role,
        "shape": list(lines.shape),
        "plan": plan.name,
        "evaluations_per_frame": frames[0].calls,
        "scores": [
            {
                "verifier": name,
                "searched": name in (verifier or "").split(","),
                "these": _mean(frames, name),
                "without_search": _mean(free, name),
                "simulated": value,
            }
            for name, value in _yardstick(model, shape).items()
        ],
    }
    if search is not None:
        report |= {"search": search.method, "verifier": verifier, "second": other}
        report["tried"] = [row for i, drawn in enumerate(frames) for row in tried(drawn.found, i)]
    if folder is not None:
        _draw(frames, folder)
    return report


def _plan(
    model: Prior,
    n: int,
    shape: tuple[int, int],
    spent: int,
    search: Search | None,
    verifier: str | None,
    out: Path,
) -> tuple[str, ...]:
    how = "no search" if search is None else f"{search.method} search for {verifier}"
    return (
        f"draw {many(n, 'frame')} of {shape[0]} samples x {shape[1]} lines from the {model.role} prior",
        f"{how}; at most {spent} evaluations of the network per frame; output: {out}",
    )


def _mean(frames: list[Drawn], name: str) -> float:
    return float(np.mean(np.concatenate([drawn.scores[name].numpy() for drawn in frames])))


def _yardstick(model: Prior, shape: tuple[int, int]) -> dict[str, float]:
    """Scores of simulated frames, cut to the shape where they are larger."""
    x = companded(simulated_frames(model.role, model.domain, REAL, seed=10_000)[0])
    top = max(0, (x.shape[2] - shape[0]) // 2)
    left = max(0, (x.shape[3] - shape[1]) // 2)
    cut = x[:, :, top : top + shape[0], left : left + shape[1]]
    return {name: float(verifier(cut).mean()) for name, verifier in VERIFIERS.items()}


def _draw(frames: list[Drawn], folder: Path) -> None:
    for index, drawn in enumerate(frames):
        size = drawn.lines[0].abs().numpy()
        levels = 20 * np.log10(np.maximum(size, 1e-6) / size.max())
        plot_bmode(levels, folder / f"frame-{index}.png")
