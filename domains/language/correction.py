"""Energy correction of a predictor: steps that keep tokens which go together.

A step draws k texts from the predictor at all masks, weighs them by exp(-E / T), keeps one, and reveals
positions of that one: self-normalised importance sampling, by the functions of `core.infer`. As k grows the
choice follows q exp(-E / T); k = 1 leaves the predictor as it is. `energy_bounds` has the likelihood.

Source: Xu et al. 2024, arXiv:2410.21357 (EDLM), algorithm 1. The published code weighs by exp(+E / T); the
sign here is the paper's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.categorical import inverse
from core.denoise import Denoiser, Posterior, TokenPosterior
from core.errors import ConfigError
from core.infer import parents_of, spread
from core.process import Masking
from core.process.masking import tokens_and_free
from core.state import Source
from core.train import mixed_seed
from domains.language.candidates import candidate_texts, check_correction, row_points, scored
from domains.language.energy import Energy, masked_of

__all__ = ["Corrected", "corrected"]


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
        values = row_points(masked, self.candidates, sources)
        pick = row_points(torch.ones_like(masked[:, :1]), 1, sources)
        found, log_q = candidate_texts(x, masked, logits, values)
        energy = scored(self.energy, found, spread(x, self.candidates), log_q.flatten())
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
    check_correction(denoiser, candidates)
    if not 0 <= window <= 1:
        raise ConfigError(f"window must lie in [0, 1], got {window}.")
    if not temperature > 0:
        raise ConfigError(f"temperature must be positive, got {temperature}.")
    return Corrected(denoiser, energy, candidates, window, temperature, gen)


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
