"""The any-order bound against a source whose entropy is known: never below it, and equal for the truth."""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.density.tokens import any_order_bound
from core.process import Masking
from data.synthetic.markov_text import markov_text

SOURCE = markov_text("abc", seed=3)
K, LENGTH, TEXTS, DRAWS = 3, 5, 1000, 10
PROCESS = Masking(K)


@cache
def table() -> Tensor:
    """ln p of every hidden character given the visible ones, for all 4^5 masked texts."""
    out = np.zeros((K + 1,) * LENGTH + (LENGTH, K))
    for state in product(range(K + 1), repeat=LENGTH):
        shown = np.array([-1 if token == K else token for token in state])
        out[state] = SOURCE.posterior(shown)
    return torch.from_numpy(np.log(out.clip(1e-300)))


@dataclass(frozen=True)
class Source:
    """The exact posterior, flattened by `temper`: 1 is the truth."""

    temper: float = 1.0
    process: Masking = PROCESS

    def __call__(self, x: Tensor, t: object, cond: object = None) -> Posterior:
        tokens = x["tokens"] if isinstance(x, dict) else x
        return Posterior(logits=self.temper * table()[tuple(tokens.unbind(1))])


def texts() -> Tensor:
    return torch.from_numpy(SOURCE.draw(TEXTS, LENGTH, np.random.default_rng(0)))


def test_the_true_posterior_reaches_the_entropy_and_no_model_falls_below_it() -> None:
    x0, entropy = texts(), SOURCE.block_entropy(LENGTH)
    truth = -torch.from_numpy(SOURCE.log_prob(x0.numpy())).mean()
    right = any_order_bound(Source(), x0, list(range(TEXTS)), draws=DRAWS, chunk=TEXTS).nats
    for temper in (1.0, 0.6, 0.4, 1.6):
        found = any_order_bound(Source(temper), x0, list(range(TEXTS)), draws=DRAWS, chunk=TEXTS)
        error = float(found.nats.std()) / TEXTS**0.5
        # 10 000 masks of 1000 texts: the standard error over texts is at most .07 nats.
        assert error < 0.08
        assert float(found.nats.mean()) > entropy - 4 * error
        if temper == 1:
            assert float(found.nats.mean()) == pytest.approx(entropy, abs=4 * error)
            assert float(truth) == pytest.approx(entropy, abs=4 * error)
        else:
            more = found.nats - right  # the same texts and masks
            assert float(more.mean()) > 4 * float(more.std()) / TEXTS**0.5
