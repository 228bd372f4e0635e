"""Finetuning by a kernel distance through the sampler."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.denoise import wrap
from core.errors import ConfigError
from core.metrics import frechet, mmd2, rbf
from core.plan import ancestral, ddim, log, uniform
from core.process import RectifiedFlow
from core.run import sample
from core.state import Seeds
from core.train import Batch, FitConfig, MMDFinetune, Shuffled, fit

FLOW = RectifiedFlow()


class Affine(nn.Module):
    """A clean state that is affine in the noisy one, with weights that depend on the time."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        clock = torch.stack([torch.ones_like(t), t], 1)
        return (clock @ self.gain) * x + clock @ self.shift


def data(n: int = 256) -> Tensor:
    gen = torch.Generator().manual_seed(5)
    return torch.tensor([1.0, -0.5]) + torch.tensor([0.3, 0.8]) * torch.randn(n, 2, generator=gen)


def test_the_loss_is_the_distance_of_samples_and_data() -> None:
    torch.manual_seed(0)
    denoiser, plan, x0 = wrap(Affine(), FLOW, predicts="x0"), ddim(FLOW, uniform(FLOW, 3)), data(16)
    denoiser.net.gain.data.normal_()
    loss = MMDFinetune(plan, kernel=rbf([1.0]))(denoiser, Batch(x0), Seeds(range(16)))
    x = FLOW.prior(x0, Seeds(range(16)), plan.start)
    wanted = mmd2(sample(plan, denoiser, x), x0, rbf([1.0]))
    assert torch.allclose(loss, wanted.expand(16))


def test_recomputing_the_calls_leaves_the_gradient_as_it_is() -> None:
    gradients = []
    for recompute in (True, False):
        denoiser = wrap(Affine(), FLOW, predicts="x0").double()
        denoiser.net.gain.data.fill_(0.3)
        objective = MMDFinetune(ddim(FLOW, uniform(FLOW, 4)), checkpoint=recompute)
        objective(denoiser, Batch(data(16).double()), Seeds(range(16))).mean().backward()
        gradients.append(denoiser.net.gain.grad.clone())
    assert torch.allclose(*gradients, atol=1e-14)
    assert gradients[0].abs().min() > 1e-4


def test_finetuning_finds_the_law_that_few_steps_reach() -> None:
    x0 = data()
    plan, noise = (
        ddim(FLOW, uniform(FLOW, 3)),
        torch.randn(256, 2, generator=torch.Generator().manual_seed(9)),
    )
    denoiser = wrap(Affine(), FLOW, predicts="x0")
    before = frechet(sample(plan, denoiser, noise), x0)
    config = FitConfig(steps=120, batch=64, lr=2e-2, ema=None, every_steps=None)
    fit(MMDFinetune(plan, kernel=rbf([0.5, 1.0, 2.0])), denoiser, Shuffled(x0), config, seed=0)
    after = frechet(sample(plan, denoiser, noise), x0)
    # Two samples of 256 of one law are about 0.01 apart.
    assert before > 1
    assert after < 0.06


def test_a_plan_that_draws_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ancestral' draws noise"):
        MMDFinetune(ancestral(FLOW, uniform(FLOW, 4)))


@pytest.mark.slow
def test_three_steps_of_digits_come_closer_by_a_quarter() -> None:
    from tests.fixtures.digits import digits, digits_denoiser

    model = copy.deepcopy(digits_denoiser()).requires_grad_(True)
    train, test = digits().train, digits().test
    plan = ddim(model.process, log(model.process, 3, low=0.5))

    def distance() -> float:
        noise = model.process.prior(torch.zeros(500, 64), torch.Generator().manual_seed(1), plan.start)
        return frechet(sample(plan, model, noise), test)

    before = distance()
    kernel = rbf([8 * b for b in (0.1, 0.25, 0.5, 1.0)])
    config = FitConfig(steps=120, batch=96, lr=5e-5, ema=None, every_steps=None)
    fit(MMDFinetune(plan, kernel=kernel), model, Shuffled(train), config, seed=0)
    after = distance()
    print(f"Frechet distance to held-out digits at 3 steps: {before:.2f} before, {after:.2f} after")
    assert after < 0.75 * before
