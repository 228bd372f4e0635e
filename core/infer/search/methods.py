"""The three searches. A wanted sample's candidates lie side by side in the batch, (B * n, ...)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.denoise import Denoiser
from core.errors import ConfigError, NumericalError
from core.infer.particles import spread
from core.infer.potentials import denoised
from core.infer.search.settings import Found, Search, Tried, Verifier, merit
from core.plan.table import Plan, RedrawRow, TokenRow
from core.process.forward import renoised
from core.process.masking import tokens_and_free
from core.run import steps
from core.state import Patchwork, Seeds, Source, State, batch_size, leaves, take, tree_map, uniform

__all__ = ["METHODS", "cost", "search"]


def search(
    settings: Search,
    plan: Plan,
    denoiser: Denoiser,
    like: State,
    gen: Source,
    verifier: Verifier | Sequence[Verifier],
    *,
    second: Verifier | None = None,
    cond: Any = None,
) -> Found:
    """Search the noise of a plan for samples that a verifier likes.

    Args:
        settings: method and budget.
        plan: the sampler; "paths" needs one whose rows read no history.
        like: a state with the shape, and mask, of the samples wanted, (B, ...); each has its own search.
        gen: the one source of randomness; for "random" also `Seeds`, one per candidate, so that each is the
            run of its own seed.
        verifier: clean states -> scores, higher is better; several are combined by mean rank.
        second: a verifier that is reported and not searched on.
        cond: handed to the denoiser; a tensor or mapping with leading axis B, or anything else as it is.

    Raises:
        ConfigError: the budget is too small for one choice, or the method does not fit plan or process.
        NumericalError: a score is not a number.
    """
    verifiers = (verifier,) if callable(verifier) else tuple(verifier)
    if settings.budget < (least := cost(settings, plan, verifiers)):
        raise ConfigError(
            f"a budget of {settings.budget} evaluations is too small for {settings.method} search with "
            f"'{plan.name}' of {plan.evaluations}: at least {least} are needed.",
            hint="Raise the budget or take fewer steps.",
        )
    run = _Run(plan, denoiser, like, gen, verifiers, second, cond)
    METHODS[settings.method](settings, run)
    return run.found()


def cost(settings: Search, plan: Plan, verifiers: Sequence[Verifier] = ()) -> int:
    """Least budget of a search."""
    if settings.method == "paths":
        return settings.paths * _path_cost(settings, plan.evaluations, _judging(verifiers))
    return plan.evaluations + _judging(verifiers)


@dataclass
class _Run:
    """A search under way: what it runs, what it spent, the best it saw."""

    plan: Plan
    denoiser: Denoiser
    like: Any
    gen: Source
    verifiers: tuple[Verifier, ...]
    second: Verifier | None
    cond: Any
    spent: int = 0
    log: list[Tried] = field(default_factory=list)
    best: Any = None
    scores: Any = None
    other: Tensor | None = None

    @property
    def wanted(self) -> int:
        return batch_size(self.like)

    @property
    def generator(self) -> torch.Generator:
        """The one generator of a search whose candidates depend on earlier ones."""
        if isinstance(self.gen, torch.Generator):
            return self.gen
        raise ConfigError("only random search has a seed for each candidate.", hint="Pass one generator.")

    @property
    def each(self) -> int:
        """Evaluations of one candidate, from start to score."""
        return self.plan.evaluations + _judging(self.verifiers)

    def starts(self, n: int) -> Any:
        """n starting states for each wanted sample."""
        return self.denoiser.process.prior(spread(self.like, n), self.gen, self.plan.start)

    def walk(self, x: Any, rows: slice, gen: Any) -> tuple[Any, Any]:
        """Run some rows; the last denoised state and the last state."""
        part = Plan(self.plan.name, self.plan.rows[rows])
        n = batch_size(x) // self.wanted
        with torch.no_grad():
            for step in steps(part, self.denoiser, x, gen, self._cond(n)):
                x = step.next
        self.spent += n * part.evaluations
        return denoised(step), x

    def judge(self, x: Any, *, final: bool) -> Tensor:
        """Score candidates and log them; returns their merit, (B, n). Final ones may become the best."""
        n = batch_size(x) // self.wanted
        scores = torch.stack([self._read(verifier, x, n) for verifier in self.verifiers])
        self.spent += n * _judging(self.verifiers)
        other = None if self.second is None else self._read(self.second, x, n)
        self.log.append(Tried(self.spent, scores, other, final))
        if final:
            self._keep(x, scores, other, n)
        return merit(scores)

    def found(self) -> Found:
        return Found(self.best, self.scores, self.other, self.spent, tuple(self.log))

    def _keep(self, x: Any, scores: Tensor, other: Tensor | None, n: int) -> None:
        if self.best is not None:  # the champion so far competes as one more candidate
            scores = torch.cat([self.scores[..., None], scores], 2)
            if other is not None:
                other = torch.cat([self.other[:, None], other], 1)  # type: ignore[index]
            x = _beside(self.best, x, n)
            n += 1
        top = merit(scores).argmax(1, keepdim=True)
        self.best = _chosen(x, top, n)
        self.scores = scores.gather(2, top.expand(len(scores), -1, 1))[..., 0]
        self.other = None if other is None else other.gather(1, top)[:, 0]

    def _read(self, verifier: Verifier, x: Any, n: int) -> Tensor:
        score = verifier(x)
        if score.shape != (self.wanted * n,):
            raise ConfigError(
                f"a verifier gives one score per state, ({self.wanted * n},), got {tuple(score.shape)}."
            )
        if bool(score.isnan().any()):
            raise NumericalError("a verifier's score is not a number.")
        return score.detach().to("cpu", torch.float64).reshape(self.wanted, n)

    def _cond(self, n: int) -> Any:
        if isinstance(self.cond, Tensor | Mapping):
            return spread(self.cond, n)
        return self.cond


def _random(settings: Search, run: _Run) -> None:
    """Best of n."""
    n = settings.budget // run.each
    _, x = run.walk(run.starts(n), slice(None), run.gen)
    run.judge(x, final=True)


def _zero_order(settings: Search, run: _Run) -> None:
    """Climb from pivot to pivot on the sphere of starting noises. What the rows draw stays as it is."""
    if isinstance(run.plan.rows[0], TokenRow | RedrawRow):
        return _zero_order_of_tokens(settings, run)
    device = next(leaves(run.like)).device
    gen = run.generator
    seeds = torch.randint(2**62, (run.wanted,), generator=gen, device=gen.device).tolist()

    def ends(start: Any, n: int) -> Any:
        noise = Seeds([seed for seed in seeds for _ in range(n)], device) if run.plan.stochastic else None
        return run.walk(start, slice(None), noise)[1]

    pivot = run.starts(1)
    run.judge(ends(pivot, 1), final=True)
    scores = run.log[-1].scores
    keep, turn = (1 - settings.radius**2) ** 0.5, settings.radius
    while (n := min(settings.neighbours, (settings.budget - run.spent) // run.each)) > 0:
        around = tree_map(lambda z, xi: keep * z + turn * xi, spread(pivot, n), run.starts(n))
        run.judge(ends(around, n), final=True)
        scores = torch.cat([scores, run.log[-1].scores], 2)
        top = merit(scores).argmax(1, keepdim=True)
        pivot = _chosen(_beside(pivot, around, n), top, n + 1)
        scores = scores.gather(2, top.expand(len(scores), -1, 1))


def _zero_order_of_tokens(settings: Search, run: _Run) -> None:
    """The same where noise is what the rows draw at each position: a neighbour keeps that of most of them.

    The noise of a candidate is a seed for each position, (B, L).
    """
    like, gen = tokens_and_free(run.like)[0], run.generator
    process = run.denoiser.process

    def seeds(n: int) -> Tensor:
        shape = (run.wanted * n, 1)
        return torch.randint(2**62, shape, generator=gen, device=gen.device).cpu()

    def judged(noise: Tensor, n: int) -> Tensor:
        source = Patchwork(noise, like.device)
        x = process.prior(spread(run.like, n), source, run.plan.start)
        run.judge(run.walk(x, slice(None), source)[1], final=True)
        return run.log[-1].scores

    pivot = seeds(1).expand(-1, like.shape[1])
    scores = judged(pivot, 1)
    while (n := min(settings.neighbours, (settings.budget - run.spent) // run.each)) > 0:
        around = spread(pivot, n)
        points = uniform(around.shape, gen, dtype=torch.float64, device="cpu")
        around = torch.where(points < settings.radius, seeds(n), around)
        scores = torch.cat([scores, judged(around, n)], 2)
        top = merit(scores).argmax(1, keepdim=True)
        pivot = _chosen(_beside(pivot, around, n), top, n + 1)
        scores = scores.gather(2, top.expand(len(scores), -1, 1))


def _over_paths(settings: Search, run: _Run) -> None:
    """Keep the best partial runs, noise them back, run on."""
    rows, gen = run.plan.rows, run.generator
    if run.plan.order > 1:
        raise ConfigError(
            f"search over paths leaves and joins a plan at any row; '{run.plan.name}' reads earlier ones.",
            hint="Use ddim or ancestral, or another search.",
        )
    count, process = len(rows), run.denoiser.process
    back, at = _back(settings, count), _first(settings, count)
    copies = settings.budget // (settings.paths * _path_cost(settings, count, _judging(run.verifiers)))
    guess, x = run.walk(run.starts(settings.paths * copies), slice(0, at), gen)
    worth = run.judge(x if at == count else guess, final=at == count)
    while at < count:
        kept = worth.topk(settings.paths, dim=1).indices
        x = spread(_chosen(x, kept, settings.paths * copies), copies)
        x = renoised(process, x, rows[at].t, rows[at - back].t, gen)
        at, begin = min(at + back, count), at - back
        guess, x = run.walk(x, slice(begin, at), gen)
        worth = run.judge(x if at == count else guess, final=at == count)


METHODS: dict[str, Callable[[Search, _Run], None]] = {
    "random": _random,
    "zero-order": _zero_order,
    "paths": _over_paths,
}


def _back(settings: Search, count: int) -> int:
    return max(1, round(settings.noise_back * count))


def _first(settings: Search, count: int) -> int:
    return min(count, max(_back(settings, count), round(settings.first * count)))


def _judging(verifiers: Sequence[Verifier]) -> int:
    """Evaluations that the scores of one state cost."""
    return sum(getattr(verifier, "calls", 0) for verifier in verifiers)


def _path_cost(settings: Search, count: int, judging: int) -> int:
    """Evaluations of one candidate from start to end: every later stage walks `back` rows twice."""
    back, at = _back(settings, count), _first(settings, count)
    total = at + judging
    while at < count:
        ahead = min(at + back, count)
        total += ahead - (at - back) + judging
        at = ahead
    return total


def _chosen(x: Any, index: Tensor, n: int) -> Any:
    """Candidates (B, k) out of n for each wanted sample, (B * k, ...)."""
    rows = (index + torch.arange(len(index), device=index.device)[:, None] * n).reshape(-1)
    return take(x, rows.to(next(leaves(x)).device))


def _beside(one: Any, many: Any, n: int) -> Any:
    """(B, ...) and (B * n, ...) -> (B * (n + 1), ...), the one before the many of its sample."""
    wanted = batch_size(one)
    both = _joined(one, many)
    own = torch.arange(wanted)[:, None]
    order = torch.cat([own, wanted + torch.arange(wanted * n).reshape(wanted, n)], 1).reshape(-1)
    return take(both, order.to(next(leaves(one)).device))


def _joined(one: Any, many: Any) -> Any:
    if isinstance(one, Mapping):
        return {key: _joined(value, many[key]) for key, value in one.items()}
    return torch.cat([one, many])
