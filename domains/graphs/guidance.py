"""Graphs with wanted properties: by a model that is told them, by a regressor, or by any score of molecules.

    told       D_null + w (D_target - D_null)                          core.steer.guidance
    all_of     D_null + sum_i w_i (D_i - D_null)                       AND: core.steer.compose
    pulled     s <- (1 - sqrt(lambda)) s + w(t) r grad P               gradient of a regressor
    by_score   particles weighed by exp(scale * score(molecule))       core.infer, no gradient

In `pulled` r is the ratio of the L1 norms of score and gradient, per graph and part, and w(t) = w0 0.1^t;
P is a weighted sum of standardised properties, or minus the squared distance to targets. lambda in [0, 1)
weakens the model's own score and so lets graphs leave the training distribution.

Source of `told`: Ho & Salimans 2022, arXiv:2207.12598; of `by_score`: Singhal et al. 2025, arXiv:2501.06848.
Source of `pulled`: Lee, Jo & Hwang 2023, arXiv:2206.07632 (MOOD), eqs. 8 to 10; the L1 ratio and the decay
are those of its code.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior
from core.errors import ConfigError
from core.infer import Particles, difference, fk_sample
from core.process.scheduled import fitted
from core.state import Seeds, per_sample
from core.steer.compose import composed
from core.steer.gradient import gradient
from core.steer.guidance import Guided, classifier_free, given
from core.train.samples import mixed_seed
from domains.graphs.config import GraphSampling
from domains.graphs.data import Graphs, Kind
from domains.graphs.exchange import to_networkx
from domains.graphs.gdss import PARTS, GraphModel
from domains.graphs.property import Predictor, same_process
from domains.graphs.quantise import Quantised, quantise
from domains.graphs.sampling import condition, draw_sizes, empty_state, plan_of, start_of
from domains.graphs.valency import molecules_of

__all__ = ["Steered", "all_of", "by_score", "graph_reward", "molecule_reward", "pulled", "told"]

Score = Callable[[Any], float]  # an RDKit molecule or a graph -> a number, larger is better


def told(model: GraphModel, weight: float) -> Callable[[Denoiser], Guided]:
    """Weigh what a conditioned network is told, for `sample_graphs(targets=..., steer=told(model, w))`.

    Args:
        weight: 0 ignores the targets, 1 is the conditional model, more exaggerates them.

    Raises:
        ConfigError: the model is told nothing.
    """
    _needs_properties(model)
    return lambda denoiser: classifier_free(denoiser, weight, null=None)


def all_of(
    model: GraphModel, targets: Sequence[Mapping[str, float]], weights: Sequence[float] | None = None
) -> Callable[[Denoiser], Guided]:
    """Several targets at once: each adds what it changes of the unconditional model.

    Args:
        targets: one mapping per concept, such as ({"qed": 0.9}, {"logp": 2.0}).
        weights: of each; 1 by default.
    """
    _needs_properties(model)
    rows = [condition(model, each, 1) for each in targets]

    def steer(denoiser: Denoiser) -> Guided:
        return composed([given(denoiser, row) for row in rows], weights, base=given(denoiser, None))

    return steer


def pulled(
    predictor: Predictor,
    *,
    weights: Mapping[str, float] | None = None,
    targets: Mapping[str, float] | None = None,
    weight: float = 0.5,
    ood: float = 0.0,
) -> Callable[[Denoiser], Guided]:
    """Follow the gradient of a regressor.

    Args:
        predictor: of noisy graphs, under the model's process.
        weights: property -> weight of its standardised value, to raise (or, negative, lower) it.
        targets: property -> value to come near.
        weight: w0.
        ood: lambda, in [0, 1).

    Raises:
        ConfigError: neither or both of weights and targets, an unknown property, or lambda out of range.
        CheckpointError: the predictor was trained under another process.
    """
    if (weights is None) == (targets is None):
        raise ConfigError("give either weights, to raise properties, or targets, to come near them.")
    if not 0 <= ood < 1:
        raise ConfigError(f"ood must lie in [0, 1), got {ood}.")
    columns = {name: predictor.column(name) for name in (weights or targets or {})}

    def wish(x: Any, t: Any) -> Tensor:
        found = predictor(x, t)
        if weights is not None:
            return sum(
                (w * found[:, columns[name]] for name, w in weights.items()), found.new_zeros(len(found))
            )
        assert targets is not None
        total = found.new_zeros(len(found))
        for name, value in targets.items():
            mean, std = predictor.properties[name]
            total = total - (found[:, columns[name]] - (value - mean) / std).square()
        return total

    def steer(denoiser: Denoiser) -> Guided:
        process = denoiser.process
        same_process(predictor, process)

        def answer(x: Any, t: Any, cond: Any) -> Posterior:
            mean = dict(denoiser(x, t, cond).mean)
            grads, _ = gradient(lambda state: wish(state, t), x)
            share = weight * 0.1**t
            share = per_sample(share.to(x["nodes"]), x["nodes"]) if isinstance(t, Tensor) else share
            mask = x["mask"]
            for name in PARTS:
                part = process.parts[name]
                alpha, sigma = (fitted(v, x[name]) for v in (part.alpha(t), part.sigma(t)))
                score = (alpha * mean[name] - x[name]) / sigma**2
                pull = part.space.project(grads[name], mask)
                ratio = _size(score) / _size(pull).clamp(min=1e-20)
                score = (1 - math.sqrt(ood)) * score + share * per_sample(ratio, pull) * pull
                mean[name] = (x[name] + sigma**2 * score) / alpha
            return Posterior(mean=mean)

        return Guided(process, answer)

    return steer


def _size(x: Tensor) -> Tensor:
    return x.abs().flatten(1).sum(1)


def _needs_properties(model: GraphModel) -> None:
    if not model.properties:
        raise ConfigError(
            "the model was trained without properties.",
            hint="Train one with properties=, or guide by a predictor or a score.",
        )


def molecule_reward(kind: Kind, score: Score, rule: Any = "argmax", *, invalid: float = 0.0) -> Any:
    """A reward of states: the score of the molecule that each one is after quantisation and correction.

    Args:
        score: of an RDKit molecule, larger is better.
        invalid: reward of a state that is no molecule.
    """
    if not kind.molecular:
        raise ConfigError(f"'{kind.name}' holds no molecules to score.")
    return graph_reward(kind, score, rule, invalid=invalid)


def graph_reward(kind: Kind, score: Score, rule: Any = "argmax", *, invalid: float = 0.0) -> Any:
    """A reward of states: the score of the molecule, or of the `networkx.Graph`, that each one is.

    Args:
        score: larger is better.
        invalid: reward of a state that is none.
    """

    def reward(state: Mapping[str, Tensor]) -> Tensor:
        graphs = Graphs.from_state({key: value.detach().cpu() for key, value in state.items()})
        ragged = quantise(graphs, kind, rule).ragged
        items = molecules_of(ragged, kind).mols if kind.molecular else [*to_networkx(ragged)]
        values = [invalid if item is None else float(score(item)) for item in items]
        return torch.tensor(values, dtype=torch.float64, device=state["mask"].device)

    return reward


@dataclass(frozen=True)
class Steered:
    """What a steered run gave: one graph per group, drawn by its weight, and all particles.

    Attributes:
        raw, quantised: one graph per group.
        particles: all of them, with weights and evidence.
        scores: reward of each chosen graph, (groups,).
    """

    raw: Graphs
    quantised: Quantised
    particles: Particles
    scores: Tensor


def by_score(
    model: GraphModel,
    reward: Callable[[Any], Tensor],
    count: int,
    *,
    particles: int = 8,
    scale: float = 10.0,
    sampling: GraphSampling | None = None,
    seed: int = 0,
    first: int = 0,
    sizes: Any = None,
    steer: Callable[[Denoiser], Denoiser] | None = None,
) -> Steered:
    """Feynman-Kac steering: graphs of the model's law times exp(scale * reward), without gradients.

    Args:
        reward: of states, such as `molecule_reward`; it is read at every row.
        count: groups, with the numbers first .. first + count - 1; one graph is drawn from each.
        particles: of each group, all of one size.
        scale: how much the reward counts, nats per unit.
        sampling: rows must draw noise; "ancestral" and the other stochastic solvers do.
    """
    if count < 1 or particles < 1:
        raise ConfigError(f"steering needs groups and particles, got {count} and {particles}.")
    chosen = model.sampling if sampling is None else sampling
    plan = plan_of(model.process, chosen, data_std=model.denoiser.data_std)
    if not plan.stochastic:
        raise ConfigError(
            f"particles need noise to differ, and '{chosen.solver}' draws none.", hint="Use ancestral or s4."
        )
    denoiser: Any = model.denoiser if steer is None else steer(model.denoiser)
    numbers = range(first, first + count)
    nodes = draw_sizes(model, numbers, seed, sizes).repeat_interleave(particles)
    gen = Seeds([mixed_seed(seed, "group", i) for i in numbers])
    like = empty_state(model, nodes)
    start = start_of(model, like, gen.blocks(particles), chosen, plan.start)
    found = fk_sample(plan, denoiser, difference(reward, scale=scale), start, gen, groups=count)
    weights = found.log_w.softmax(1)
    picks = [
        int(torch.multinomial(row.cpu(), 1, generator=one))
        for row, one in zip(weights, gen.generators, strict=True)
    ]
    rows = torch.tensor([group * particles + pick for group, pick in enumerate(picks)])
    raw = Graphs.from_state({key: value.cpu()[rows] for key, value in found.x.items()})
    return Steered(raw, quantise(raw, model.kind, chosen.quantise), found, reward(raw.state()))
