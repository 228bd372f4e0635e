"""Graphs drawn from a model: plans by name, node counts, one stream of random numbers per graph, chunks.

    solver      plan                                                   calls for n steps
    s4          symmetric splitting with a built-in corrector          n
    em          Euler-Maruyama, a Langevin step before each step       2 n (n without corrector)
    reverse     reverse diffusion, likewise                            2 n (n without corrector)
    ode         Heun on the probability-flow ODE                       2 n - 1
    default     third-order Adams-Bashforth on the logistic grid       n
    ancestral   q(x_s given x_t, x_0 = D) on equal steps of t          n

The first three end at t = 1e-4 with the mean of their last step, as published; the others end with the
posterior mean. Graph number i of a run is drawn from a seed made of the run's seed and i: its size, its start
and its noise are the same in any chunk and beside any other graph. Chunks hold graphs of similar size, so
that little padding is computed. Rounding differs between chunks in the last bits of real-valued states.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError
from core.plan import (
    JointRow,
    Plan,
    Row,
    ancestral,
    corrected,
    default,
    euler_maruyama,
    heun,
    reverse_diffusion,
    splitting,
)
from core.process import Product
from core.progress import Progress, silent
from core.run import steps
from core.state import Seeds
from core.train.samples import mixed_seed
from domains.graphs.config import GraphSampling
from domains.graphs.data import Graphs
from domains.graphs.gdss import GraphModel
from domains.graphs.quantise import Quantised, quantise

__all__ = [
    "Drawn",
    "Sizes",
    "condition",
    "draw_sizes",
    "empty_state",
    "finished",
    "plan_of",
    "sample_graphs",
    "seeds_for",
    "start_of",
]

LAST = 1e-4  # last time of the published grids
Sizes = int | Sequence[int] | None
Steer = Callable[[Denoiser], Denoiser]


@dataclass(frozen=True)
class Drawn:
    """What a run gave.

    Attributes:
        raw: real-valued states at the end of the plan.
        quantised: the graphs, and the nodes that quantisation dropped.
        frames: states along the way of the first graphs, if asked for: (frames, graphs, ...), raw.
        times: of the frames.
        evaluations: calls of the denoiser per chunk.
        seconds: wall time.
    """

    raw: Graphs
    quantised: Quantised
    frames: tuple[Graphs, ...]
    times: tuple[float, ...]
    evaluations: int
    seconds: float


def plan_of(process: Product, sampling: GraphSampling, *, data_std: float = 0.5) -> Plan:
    """The plan that settings mean for a process of nodes and edges."""
    n = sampling.steps
    grid = [1.0 + (LAST - 1.0) * i / n for i in range(n + 1)]
    open_grid = [1.0 + (process.ends[0] - 1.0) * i / n for i in range(n + 1)]
    if sampling.solver == "s4":
        return splitting(
            process,
            grid,
            snr=sampling.snr if sampling.corrector else None,
            temper=sampling.scale_eps,
            pooled=sampling.pooled,
            variance=sampling.s4_variance,
        ).quiet()
    if sampling.solver in ("em", "reverse"):
        rule = euler_maruyama if sampling.solver == "em" else reverse_diffusion
        plan = rule(process, grid)
        if sampling.corrector:
            plan = corrected(
                plan,
                process,
                snr=sampling.snr,
                temper=sampling.scale_eps,
                pooled=sampling.pooled,
                place="before",
            )
        return plan.quiet()
    if sampling.solver == "ode":
        return finished(heun(process, open_grid))
    if sampling.solver == "default":
        return finished(default(process, n, data_std=data_std))
    return finished(ancestral(process, open_grid))


def finished(plan: Plan) -> Plan:
    """The same plan with the posterior mean for a result: its last row takes D for every part."""
    last = plan.rows[-1]
    if not isinstance(last, JointRow):
        raise ConfigError("a plan of graphs has one row per part.")
    rest = JointRow(last.t, last.s, {k: Row(last.t, last.s, 0.0, (1.0,)) for k in last.parts})
    return Plan(plan.name, (*plan.rows[:-1], rest))


def draw_sizes(model: GraphModel, numbers: Sequence[int], seed: int, sizes: Sizes = None) -> Tensor:
    """Nodes of the graphs with these numbers, (B,): from the training graphs, one size, or given.

    Raises:
        ConfigError: a size is not in [1, N], or their number is not that of the graphs.
    """
    if sizes is None:
        weights = torch.tensor(model.sizes, dtype=torch.float64)
        draws = [torch.Generator().manual_seed(mixed_seed(seed, "size", i)) for i in numbers]
        out = torch.cat([torch.multinomial(weights, 1, generator=gen) for gen in draws])
    else:
        several = [sizes] * len(numbers) if isinstance(sizes, int) else list(sizes)
        if len(several) != len(numbers):
            raise ConfigError(f"got {len(several)} sizes for {len(numbers)} graphs.")
        out = torch.tensor(several, dtype=torch.long)
    if int(out.min()) < 1 or int(out.max()) > model.kind.max_nodes:
        raise ConfigError(
            f"sizes must lie in [1, {model.kind.max_nodes}], got {int(out.min())} to {int(out.max())}."
        )
    return out


def empty_state(model: GraphModel, sizes: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Zeros {"nodes" (B, N, F), "edges" (B, N, N)} with the mask of these sizes, on the model's device."""
    device = next(model.denoiser.parameters()).device
    b, n = len(sizes), model.kind.max_nodes
    return {
        "nodes": torch.zeros(b, n, model.kind.features, dtype=dtype, device=device),
        "edges": torch.zeros(b, n, n, dtype=dtype, device=device),
        "mask": torch.arange(n, device=device) < sizes.to(device)[:, None],
    }


def seeds_for(seed: int, numbers: Sequence[int]) -> Seeds:
    """One generator per graph number; a graph draws the same in every chunk."""
    return Seeds([mixed_seed(seed, "graph", i) for i in numbers])


def start_of(
    model: GraphModel, like: Mapping[str, Tensor], gen: Any, sampling: GraphSampling, t: float = 1.0
) -> dict[str, Tensor]:
    """States that a run begins with: N(0, 1) as published, or the first two moments of q(x_t)."""
    process = model.process
    noise = process.space.noise(like, gen)
    if sampling.prior == "normal":
        return noise
    m = model.moments
    node_mean, node_std = (torch.tensor(v, dtype=noise["nodes"].dtype) for v in (m.node_mean, m.node_std))
    device = noise["nodes"].device
    laws = {
        "nodes": (node_mean.to(device), node_std.to(device)),
        "edges": (torch.tensor(m.edge_mean), torch.tensor(m.edge_std)),
    }
    out: dict[str, Any] = {"mask": like["mask"]}
    for name, part in process.parts.items():
        alpha, sigma = part.alpha(t), part.sigma(t)
        mean, std = laws[name]
        spread = ((alpha * std) ** 2 + sigma**2).sqrt().to(noise[name].dtype)
        out[name] = alpha * mean.to(noise[name].dtype) + spread * noise[name]
    return process.space.project(out)


def condition(model: GraphModel, targets: Mapping[str, float], count: int) -> Tensor:
    """Standardised properties (B, K) for a network that is told them; NaN where no target is given.

    Raises:
        ConfigError: the model does not know a property.
    """
    if unknown := sorted(set(targets) - set(model.properties)):
        raise ConfigError(
            f"the model is not told {', '.join(unknown)} (known: {', '.join(model.properties) or 'none'}).",
            hint="Train one with these properties, or guide by a predictor.",
        )
    row = [
        (targets[name] - mean) / std if name in targets else math.nan
        for name, (mean, std) in model.properties.items()
    ]
    device = next(model.denoiser.parameters()).device
    return torch.tensor([row] * count, dtype=torch.float32, device=device)


def sample_graphs(
    model: GraphModel,
    count: int,
    *,
    sampling: GraphSampling | None = None,
    seed: int = 0,
    first: int = 0,
    sizes: Sizes = None,
    targets: Mapping[str, float] | None = None,
    steer: Steer | None = None,
    frames: int = 0,
    framed: int = 1,
    progress: Progress = silent,
) -> Drawn:
    """Draw graphs.

    Args:
        count: how many, with the numbers first .. first + count - 1.
        sampling: how; the model's own settings by default.
        seed: same seed, same graphs, whatever the chunk.
        sizes: nodes of each; None draws from the training graphs.
        targets: property -> value that a conditioned network is told.
        steer: changes the denoiser, such as `guidance` does.
        frames: states along the way that are kept; 0 for none.
        framed: of how many graphs, from the first on.
        progress: told after every chunk.

    Raises:
        ConfigError: settings or sizes that do not suit the model.
        NumericalError: a state is not finite at the end.
    """
    if count < 1:
        raise ConfigError(f"at least one graph is drawn, got {count}.")
    chosen = model.sampling if sampling is None else sampling
    plan = plan_of(model.process, chosen, data_std=model.denoiser.data_std)
    denoiser: Denoiser = model.denoiser if steer is None else steer(model.denoiser)
    numbers = list(range(first, first + count))
    nodes = draw_sizes(model, numbers, seed, sizes)
    order = torch.arange(count) if chosen.pooled else nodes.argsort(stable=True)
    out = empty_state(model, nodes)
    kept: dict[int, tuple[float, dict[str, Tensor]]] = {}
    wanted = {round(k * (len(plan.rows) - 1) / max(frames - 1, 1)) for k in range(frames)}
    began = time.perf_counter()
    progress("sample", 0, count, None)
    for begin in range(0, count, chosen.chunk):
        rows = order[begin : begin + chosen.chunk]
        gen = seeds_for(seed, [numbers[int(i)] for i in rows])
        like = empty_state(model, nodes[rows])
        cond = condition(model, targets, len(rows)) if targets else None
        x: Any = start_of(model, like, gen, chosen, plan.start)
        with torch.no_grad():
            for step in steps(plan, denoiser, x, gen, cond):
                x = step.next
                if step.number in wanted:
                    _keep(kept, step, rows, min(framed, count), like)
        for key in ("nodes", "edges"):
            out[key][rows] = x[key]
        progress("sample", min(begin + chosen.chunk, count), count, None)
    raw = Graphs.from_state({key: value.cpu() for key, value in out.items()})
    moments = [kept[k] for k in sorted(kept)]
    return Drawn(
        raw=raw,
        quantised=quantise(raw, model.kind, chosen.quantise),
        frames=tuple(Graphs.from_state(state) for _, state in moments),
        times=tuple(t for t, _ in moments),
        evaluations=plan.evaluations,
        seconds=time.perf_counter() - began,
    )


def _keep(
    kept: dict[int, tuple[float, dict[str, Tensor]]],
    step: Any,
    rows: Tensor,
    framed: int,
    like: Mapping[str, Tensor],
) -> None:
    """Store the state of the graphs 0 .. framed - 1 that this chunk holds."""
    if step.number not in kept:
        blank = {k: v.new_zeros(framed, *v.shape[1:]).cpu() for k, v in like.items()}
        kept[step.number] = (step.row.s, blank)
    mine = (rows < framed).nonzero().flatten()
    for key, value in kept[step.number][1].items():
        value[rows[mine]] = step.next[key][mine.to(step.next[key].device)].cpu()
