"""Sampling with wished-for properties, beside the same model without guidance, in one run.

    told         a model that was trained with properties is told them (classifier-free); several are combined
                 as AND
    predictor    the gradient of a regressor pulls (MOOD)
    reward       particles are weighed by any computable property (Feynman-Kac), no training at all

Both sets have the same sizes and settings and, but for particles, the same noise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.device import choose_device
from core.errors import ConfigError
from core.outlook import Outlook, Ready, at_once, many
from core.progress import Progress, silent
from domains.graphs.config import GraphSampling
from domains.graphs.data import Ragged
from domains.graphs.descriptors import Wish, descriptor, measured, wishes_of
from domains.graphs.formats.write import suffixes, write_samples
from domains.graphs.gdss import GraphModel
from domains.graphs.guidance import all_of, by_score, graph_reward, pulled, told
from domains.graphs.plots import draw_graphs, draw_molecules, plot_properties
from domains.graphs.property import Predictor, load_predictor, same_process
from domains.graphs.sampling import condition, plan_of, sample_graphs
from domains.graphs.valency import Molecules
from domains.graphs.workflows.comparing import Sampled, compared, sampled_of
from domains.graphs.workflows.opening import (
    check_pair,
    fitting,
    open_model,
    rates_of,
    sampling_of,
    sidecar,
    write_sidecar,
)

__all__ = ["guide_file"]


def guide_file(
    run: str,
    out: Path,
    *,
    properties: Sequence[str] = (),
    predictor: Path | None = None,
    reward: str | None = None,
    weight: float | None = None,
    ood: float = 0.0,
    particles: int = 8,
    scale: float = 3.0,
    count: int = 100,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    folder: Path | None = None,
    ready: Ready = at_once,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Sample with guidance, and without, and report the properties of both.

    Args:
        run: a model; one trained with properties where neither predictor nor reward is given.
        out: as for `sample_file`; the guided samples, a record beside them.
        properties: wishes, see `descriptors.wishes_of`.
        predictor: folder or file of `train_property_file`.
        reward: one wish for a property that can be computed.
        weight: of what the model is told (2 by default; 1 is the conditional model), or w0 of the predictor
            (0.5).
        ood: lambda of the predictor, in [0, 1): lets samples leave the training distribution.
        particles: of each sample, for the reward.
        scale: of the reward, nats per standard deviation that the property has without guidance.
        count: samples of each set.
        folder: `samples.png` and `properties.png` go here.

    Returns:
        Report: `properties`, one row each with means and standard errors of both sets, and rates.

    Raises:
        ConfigError: wishes that do not suit the way of guidance, or a property that is not known.
        CheckpointError: the predictor belongs to another process or kind of graphs.
    """
    if count < 2:
        raise ConfigError(f"means with a standard error need at least 2 samples, got {count}.")
    if reward is not None and (properties or predictor is not None):
        raise ConfigError("a reward stands alone.", hint="Drop --property and --predictor, or --reward.")
    wishes = wishes_of([reward] if reward is not None else properties)
    if not wishes:
        raise ConfigError("nothing is wished for.", hint="Pass --property qed=0.9 or --reward qed.")
    where, note = choose_device(device)
    model = open_model(run)
    check_pair(out, suffixes(model.kind), overwrite=overwrite)
    sampling = sampling_of(model, settings or {})
    if predictor is not None:
        pull = load_predictor(predictor)
        how, steer = "predictor", _predicted(pull, model, wishes, weight, ood)
        pull.net.to(where)
        share = 0.5 if weight is None else weight
    elif reward is not None:
        how, steer, share = "reward", None, scale
        _check_reward(wishes, model, sampling, particles)
    else:
        share = 2.0 if weight is None else weight
        how, steer = "told", _told(model, wishes, share)
        if ood:
            raise ConfigError("--lambda weakens a score beside a predictor.", hint="Pass --predictor.")
    calls = f", {particles} particles each" if how == "reward" else ""
    plan = (
        f"guide {run} by {how}: {', '.join(map(str, wishes))}; weight {share:g}{calls}",
        f"{many(count, 'graph')} with and {count} without: {sampling.solver}, {sampling.steps} steps",
        f"write {out} and {sidecar(out).name}",
        *([note] if note else []),
    )
    ready(Outlook(plan, device=str(where)))
    model.denoiser.to(where)
    plain = sampled_of(
        sample_graphs(
            model, count, sampling=sampling, seed=seed, progress=_named(progress, "without")
        ).quantised.ragged,
        model,
    )
    if how == "reward":
        ragged = _steered(model, wishes[0], plain, count, particles, scale, sampling, seed, progress)
    else:
        targets = _targets(wishes) if how == "told" and len(wishes) == 1 else None
        ragged = sample_graphs(
            model,
            count,
            sampling=sampling,
            seed=seed,
            targets=targets,
            steer=steer,
            progress=_named(progress, "guided"),
        ).quantised.ragged
    guided = sampled_of(ragged, model)
    written = write_samples(out, ragged, model.kind, molecules=guided.molecules, overwrite=overwrite)
    rows, values, warnings = compared(wishes, plain, guided, model)
    report: dict[str, Any] = {
        "run": run,
        "output": str(out),
        "how": how,
        "weight": share,
        "lambda": ood,
        "particles": particles if how == "reward" else 1,
        "graphs": count,
        "written": written,
        "properties": rows,
        "sampling": sampling.model_dump(mode="json"),
        "warnings": warnings,
    }
    if plain.molecules is not None and guided.molecules is not None:
        report["rates"] = [_rates("without", plain.molecules), _rates("guided", guided.molecules)]
    record = {
        "model": run,
        "preset": model.checkpoint.preset,
        "seed": seed,
        "solver": sampling.solver,
        "steps": sampling.steps,
        "wishes": [str(wish) for wish in wishes],
        "predictor": None if predictor is None else str(predictor),
        **{key: report[key] for key in ("how", "weight", "lambda", "particles", "sampling")},
        "counts": {"asked": count, "written": written},
    }
    write_sidecar(out, "suffuse graphs guide", record, overwrite=overwrite)
    if folder is not None:
        if values:
            marks = {wish.name: wish.value for wish in wishes if wish.value is not None}
            plot_properties(values, folder / "properties.png", marks=marks)
        _draw(guided, rows, model, folder / "samples.png")
    return report


def _rates(name: str, found: Molecules) -> dict[str, Any]:
    rates = rates_of(found)
    keys = ("valid_without_correction", "fragmented", "unique")
    return {"set": name, **{key: rates[key] for key in keys}}


def _told(model: GraphModel, wishes: Sequence[Wish], weight: float) -> Any:
    """Guidance of a model that is told its properties."""
    if wrong := next((wish for wish in wishes if wish.aim != "near"), None):
        raise ConfigError(
            f"a model is told values, and '{wrong}' is none.",
            hint=f"Write {wrong.name}=VALUE, or pass --predictor or --reward.",
        )
    if len(wishes) == 1:
        steer = told(model, weight)
        condition(model, _targets(wishes), 1)  # refuses a property that the model is not told
        return steer
    return all_of(model, [{wish.name: wish.value or 0.0} for wish in wishes], [weight] * len(wishes))


def _targets(wishes: Sequence[Wish]) -> dict[str, float]:
    return {wish.name: wish.value for wish in wishes if wish.value is not None}


def _predicted(
    predictor: Predictor, model: GraphModel, wishes: Sequence[Wish], weight: float | None, ood: float
) -> Any:
    """Guidance by the gradient of a regressor, once it is known to fit the model."""
    fitting(model, predictor.kind, "the predictor")
    same_process(predictor, model.process)
    near = [wish for wish in wishes if wish.aim == "near"]
    if near and len(near) < len(wishes):
        raise ConfigError(
            "a predictor follows directions or values, not both at once.",
            hint="Give every property a value, or none.",
        )
    share = 0.5 if weight is None else weight
    if near:
        return pulled(predictor, targets=_targets(wishes), weight=share, ood=ood)
    signs = {wish.name: 1.0 if wish.aim == "max" else -1.0 for wish in wishes}
    return pulled(predictor, weights=signs, weight=share, ood=ood)


def _check_reward(wishes: Sequence[Wish], model: GraphModel, sampling: GraphSampling, particles: int) -> None:
    if len(wishes) > 1:
        raise ConfigError("particles are weighed by one reward.", hint="Guide by a predictor for several.")
    descriptor(wishes[0].name, model.kind)
    if particles < 2:
        raise ConfigError(f"a reward needs at least 2 particles to choose from, got {particles}.")
    if not plan_of(model.process, sampling, data_std=model.denoiser.data_std).stochastic:
        raise ConfigError(
            f"particles need noise to differ, and '{sampling.solver}' draws none.",
            hint="Pass --solver ancestral or s4.",
        )


def _steered(
    model: GraphModel,
    wish: Wish,
    plain: Sampled,
    count: int,
    particles: int,
    scale: float,
    sampling: GraphSampling,
    seed: int,
    progress: Progress,
) -> Ragged:
    """Feynman-Kac samples, in blocks that a chunk holds; the reward is in units of the plain samples."""
    values = measured(plain.items, wish.name, model.kind)
    values = values[np.isfinite(values)]
    mean, std = (float(values.mean()), float(values.std())) if len(values) else (0.0, 1.0)
    rule = descriptor(wish.name, model.kind)

    def score(item: Any) -> float:
        return wish.reward(float(rule(item)), mean, std or 1.0)

    # A state that is no molecule counts as one that is three standard deviations worse than usual.
    reward = graph_reward(model.kind, score, sampling.quantise, invalid=-3.0)
    block = max(sampling.chunk // particles, 1)
    parts = []
    for first in range(0, count, block):
        n = min(block, count - first)
        made = by_score(
            model, reward, n, particles=particles, scale=scale, sampling=sampling, seed=seed, first=first
        )
        parts.append(made.quantised.ragged)
        progress("guided", first + n, count, None)
    return Ragged.cat(parts)


def _draw(guided: Sampled, rows: Sequence[Mapping[str, Any]], model: GraphModel, path: Path) -> None:
    if guided.molecules is None:
        draw_graphs(guided.ragged, path, overwrite=True)
        return
    mols = [mol for mol in guided.molecules.mols if mol is not None][:20]
    if mols:
        names = [row["property"] for row in rows]
        values = {name: measured(mols, name, model.kind) for name in names}
        texts = [", ".join(f"{name} {values[name][i]:.2f}" for name in names) for i in range(len(mols))]
        draw_molecules(mols, path, legends=texts, overwrite=True)


def _named(progress: Progress, name: str) -> Progress:
    def tell(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        progress(name, done, total, metric)

    return tell
