"""Energy correction of a predictor: steps that keep tokens which go together, and the corrected likelihood.

A step draws k texts from the predictor at all masks, weighs them by exp(-E / T), keeps one, and reveals
positions of that one: self-normalised importance sampling, by the functions of `core.infer`. As k grows the
choice follows q exp(-E / T); k = 1 leaves the predictor as it is.

    corrected      Denoiser -> Denoiser, a point mass on the chosen text while t is in [1 - window, 1]
    energy_bound   mean over masks M of  d / |M| [ sum over M of l_i + E(x0, x_t) + log Z(x_t) ]

With T_m = log of the mean of exp(-E) over m draws from q, T_n is below log Z in the mean, and
(2n - 1) T_n - 2 (n - 1) T_{n-1}, T_{n-1} averaged over the subsets without one draw, is above it once n is
large enough. Both are reported.

The integrand is that of the source. Under `coar` its mean is the causal model's -ln p(x0). In general it is
no bound on -ln p of the sampler: revealing few tokens at a time pays the marginal surprise of each, and those
add up to more than the surprise of all masked tokens together. For two tokens that always agree and are
otherwise even, an exact energy gives ln 2 / 2 where the text holds ln 2.

Sources: Xu et al. 2024, arXiv:2410.21357, eqs. 7 to 11; Deng et al. 2020, arXiv:2004.11714, section 3.3 (the
bracket). The published code weighs by exp(+E / T); the sign here is the paper's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.denoise import Denoiser, Posterior, TokenPosterior
from core.density.tokens import random_masks
from core.errors import ConfigError, NumericalError
from core.infer import parents_of, spread
from core.infer.particles import settle
from core.infer.resample import inverse
from core.process import Masking
from core.process.masking import tokens_and_free, with_tokens
from core.state import Seeds, Source, take, uniform
from core.train import mixed_seed
from domains.language.energy import Energy, masked_of

__all__ = ["Corrected", "EnergyBound", "corrected", "energy_bound", "log_normaliser"]


@dataclass(frozen=True)
class Corrected:
    """A predictor whose draws are chosen by an energy; `corrected` checks and builds it."""

    denoiser: Denoiser
    energy: Energy
    candidates: int
    window: float
    temperature: float
    gen: Source | None

    @property
    def process(self) -> Any:
        return self.denoiser.process

    @property
    def rowwise(self) -> bool:
        """Rows of a batch are independent where the predictor's are."""
        return getattr(self.denoiser, "rowwise", False)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        plain = self.denoiser(x, t, cond)
        tokens, _ = tokens_and_free(x)
        masked = masked_of(x, self.process.mask_token)
        late = torch.as_tensor(t, device=tokens.device) >= 1 - self.window - 1e-9
        if not bool(late.any()) or not bool(masked.any()):
            return plain
        chosen = self._chosen(x, masked, plain.at(masked))
        late = late.expand(len(tokens))

        def rows(where: Tensor) -> Tensor:
            found = chosen[where]
            known = (found < self.process.vocab)[:, None]
            kind: dict[str, Any] = {"dtype": torch.float64, "device": found.device}
            point = torch.full((len(found), self.process.vocab), -torch.inf, **kind)
            point = point.scatter(1, found[:, None].where(known, 0), 0.0).where(known, 0.0)
            if bool(late.all()):
                return point
            return torch.where(late[where.nonzero()[:, 0]][:, None], point, plain.at(where).double())

        return TokenPosterior(rows, tokens.shape)

    def _chosen(self, x: Any, masked: Tensor, logits: Tensor) -> Tensor:
        """One text of each row's candidates, (B, L)."""
        sources = _sources(x, self.process, len(masked), self.gen)
        values = _points(masked, self.candidates, sources)
        pick = _points(torch.ones_like(masked[:, :1]), 1, sources)
        found, log_q = _texts(x, masked, logits, values)
        energy = _energies(self.energy, found, spread(x, self.candidates), log_q.flatten())
        log_w = -energy.reshape(log_q.shape) / self.temperature
        parent = parents_of(log_w, None, lambda weights, _: inverse(weights, pick))[:, :1]
        texts = found.unflatten(0, log_w.shape)
        return texts.gather(1, parent[..., None].expand(-1, -1, texts.shape[2]))[:, 0].long()


def corrected(
    denoiser: Denoiser,
    energy: Energy,
    *,
    candidates: int = 2,
    window: float = 0.2,
    temperature: float = 1.0,
    gen: Source | None = None,
) -> Denoiser:
    """Correct a predictor of masked text.

    Every answer asks the predictor once and the energy once for each candidate. Orders by confidence see a
    certain answer everywhere, so they reveal from left to right.

    Args:
        denoiser: draws the candidates. Bent laws (temperature, top-p) are proposals of the same target under
            `ar` and `coar`, whose energies hold ln q.
        energy: weighs them.
        candidates: k; 2 for speed, 8 to 16 for quality.
        window: used while t is in [1 - window, 1]; 1 for quality.
        temperature: T; 0 is not allowed, small values take the best.
        gen: source of the candidates and the choice. `Seeds` hold one per row of the whole run, and a state
            of a part of the rows then says which, as "row" (B,). None: the state holds "seed" (B,), and draws
            are a function of it and of the row's tokens: a row draws the same alone and in any batch, and
            keeps its candidate while no token changes. Particles need a generator, or their copies agree.

    Raises:
        ConfigError: a setting is out of range, or the process does not mask.
    """
    _check(denoiser, candidates)
    if not 0 <= window <= 1:
        raise ConfigError(f"window must lie in [0, 1], got {window}.")
    if not temperature > 0:
        raise ConfigError(f"temperature must be positive, got {temperature}.")
    return Corrected(denoiser, energy, candidates, window, temperature, gen)


class EnergyBound(NamedTuple):
    """Nats of each sequence, (B,), float64.

    Attributes:
        low: with T_n in place of log Z, too small in the mean.
        high: with the upper estimate.
        error: standard error of `low` over the masks of each; nan for one draw.
        lengths: tokens that were scored.
        draws: masks per sequence.
        proposals: n, texts per mask; 0 where log Z = 0 is known.
    """

    low: Tensor
    high: Tensor
    error: Tensor
    lengths: Tensor
    draws: int
    proposals: int

    @property
    def label(self) -> str:
        """What must stand beside the figure."""
        return f"bound=approximate, n={self.proposals}" if self.proposals else "log Z = 0 exactly"


def energy_bound(
    denoiser: Denoiser,
    energy: Energy,
    x0: Any,
    seeds: list[int],
    *,
    draws: int = 16,
    proposals: int = 8,
    chunk: int = 64,
) -> EnergyBound:
    """Estimate the corrected integrand over random masks, |M| stratified over the draws of a sequence.

    Args:
        x0: tokens (B, L) or a state with "mask"; what may not change is given.
        seeds: one per sequence, whose value does not depend on the batch.
        draws: masks per sequence.
        proposals: n, at least 2; not used where the energy is normalised.
        chunk: texts per call of the networks.
    """
    _check(denoiser, proposals)
    if proposals < 2:
        raise ConfigError(f"the upper estimate needs at least 2 proposals, got {proposals}.")
    proposals = 0 if energy.normalised else proposals
    tokens, free = tokens_and_free(x0)
    free = torch.ones_like(tokens, dtype=torch.bool) if free is None else free
    gens = Seeds(seeds, tokens.device)
    hidden, weight = random_masks(free, free.sum(1), gens, draws)
    rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(draws)
    ends = torch.zeros(2, len(rows), dtype=torch.float64, device=tokens.device)
    size = max(1, chunk // max(proposals, 1))
    with torch.no_grad():
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            own = [gens.generators[row] for row in rows[part].tolist()]
            ends[:, part] = _integrand(denoiser, energy, take(x0, rows[part]), hidden[part], proposals, own)
    low, high = (ends * weight).reshape(2, -1, draws)
    error = low.std(1) / draws**0.5 if draws > 1 else torch.full_like(low[:, 0], math.nan)
    return EnergyBound(low.mean(1), high.mean(1), error, free.sum(1), draws, proposals)


def log_normaliser(energy: Tensor) -> tuple[Tensor, Tensor]:
    """T_n and (2n - 1) T_n - 2 (n - 1) T_{n-1} of energies (B, n) of draws from q, each (B,)."""
    n = energy.shape[1]
    _, below = settle(-energy.double(), torch.zeros(len(energy), dtype=torch.float64, device=energy.device))
    left = -energy.double()[:, None].expand(-1, n, -1)
    others = left.masked_fill(torch.eye(n, dtype=torch.bool, device=energy.device), -torch.inf)
    without = (torch.logsumexp(others, 2) - math.log(n - 1)).mean(1)
    return below, (2 * n - 1) * below - 2 * (n - 1) * without


def _integrand(
    denoiser: Denoiser, energy: Energy, x0: Any, hidden: Tensor, n: int, own: list[torch.Generator]
) -> Tensor:
    """Lower and upper estimate for one mask of each sequence, (2, B)."""
    tokens, _ = tokens_and_free(x0)
    x = with_tokens(x0, torch.where(hidden, denoiser.process.mask_token, tokens))
    logits = denoiser(x, 1.0).at(hidden)
    law = torch.log_softmax(logits.double(), -1).gather(1, tokens[hidden].long()[:, None])
    log_q = _per_row(law, hidden)[:, 0]
    joint = -log_q + _energies(energy, tokens, x, log_q)
    if n == 0:
        return joint.expand(2, -1)
    found, each = _texts(x, hidden, logits, _points(hidden, n, own))
    energies = _energies(energy, found, spread(x, n), each.flatten()).reshape(each.shape)
    return joint + torch.stack(log_normaliser(energies))


def _texts(x: Any, masked: Tensor, logits: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """k texts of each row side by side, (B * k, L), drawn at points (M, k); and ln q of each, (B, k)."""
    tokens, _ = tokens_and_free(x)
    log_law = torch.log_softmax(logits.double(), -1)
    values = inverse(log_law.exp(), points)
    texts = tokens[..., None].repeat(1, 1, points.shape[1])
    texts[masked] = values.to(tokens.dtype)
    return texts.transpose(1, 2).flatten(0, 1), _per_row(log_law.gather(1, values), masked)


def _per_row(values: Tensor, where: Tensor) -> Tensor:
    out = torch.zeros(len(where), values.shape[1], dtype=torch.float64, device=values.device)
    return out.index_add(0, where.nonzero()[:, 0], values)


def _energies(energy: Energy, texts: Tensor, x: Any, log_q: Tensor) -> Tensor:
    found = energy(texts, x, log_q)
    if found.shape != (len(texts),):
        raise ConfigError(f"an energy gives one number per text, ({len(texts)},), got {tuple(found.shape)}.")
    if bool(found.isnan().any() | found.isneginf().any()):
        raise NumericalError("an energy is not a number.", hint="Train it again with a lower learning rate.")
    return found.detach().double()


def _points(where: Tensor, k: int, sources: list[torch.Generator] | torch.Generator) -> Tensor:
    """Uniform numbers (M, k) in float64, row by row."""
    kind: dict[str, Any] = {"dtype": torch.float64, "device": where.device}
    if isinstance(sources, torch.Generator):
        return uniform((int(where.sum()), k), sources, **kind)
    counts = where.sum(1).tolist()
    return torch.cat([uniform((n, k), one, **kind) for n, one in zip(counts, sources, strict=True)])


def _sources(
    x: Any, process: Masking, count: int, gen: Source | None
) -> list[torch.Generator] | torch.Generator:
    """Where each row draws from; see `corrected`."""
    tokens, _ = tokens_and_free(x)
    if isinstance(gen, torch.Generator):
        return gen
    if gen is None:
        if isinstance(x, Mapping) and "row" in x:
            raise ConfigError(
                "an energy reads whole texts, and a cache hands on a part.", hint="Use --cache none."
            )
        if not isinstance(x, Mapping) or "seed" not in x:
            raise ConfigError(
                "an energy draws candidates and needs a source of randomness.",
                hint="Pass gen=, or a state with 'seed'.",
            )
        pairs = zip(x["seed"].tolist(), tokens.cpu().numpy(), strict=True)
        pad = process.mask_token + 1  # how much there is depends on who is beside
        return [
            torch.Generator().manual_seed(mixed_seed(seed, "energy", row[row != pad].tobytes().hex()))
            for seed, row in pairs
        ]
    if isinstance(x, Mapping) and "row" in x:
        return [gen.generators[row] for row in x["row"].tolist()]
    if len(gen) != count:
        raise ConfigError(
            f"got {len(gen)} seeds for {count} rows of a state that does not say which they are.",
            hint="Give the state an entry 'row'.",
        )
    return gen.generators


def _check(denoiser: Denoiser, candidates: int) -> None:
    if not isinstance(denoiser.process, Masking):
        raise ConfigError(f"an energy corrects masked text, got {type(denoiser.process).__name__}.")
    if candidates < 1:
        raise ConfigError(f"at least 1 candidate is needed, got {candidates}.")
