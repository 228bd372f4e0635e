"""TSFlow: a process whose noise is a Gaussian process given the context, and the model around it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError
from core.plan import ancestral, euler
from core.process import CorrelatedFlow, from_record, to_record
from core.process.correlated import Part
from core.run import sample
from core.state import Seeds
from domains.timeseries.config import FlowConfig, SampleConfig, TrainConfig
from domains.timeseries.flow import process_of
from domains.timeseries.forecasting import forecast
from domains.timeseries.sampling import plan_of
from domains.timeseries.training import train
from domains.timeseries.tsdiff import load_model
from domains.timeseries.windows import Shape
from tests.domains.timeseries.exact import sines, untrained

OU = CorrelatedFlow(8, 5, (Part("ou", 1.0, 4.0), Part("periodic", 0.5, 0.7, 3.0)), 0.2)
CONFIG = TrainConfig(
    kind="tsflow", prediction_length=6, context_length=12, lags="none", hidden=8, blocks=1, states=4, steps=5,
    batch=8, validation_samples=9, validation_series=2,
)  # fmt: skip


def by_definition(process: CorrelatedFlow) -> tuple[np.ndarray, np.ndarray]:
    """Gain and covariance of a Gaussian process given noisy values, from the kernel's formula."""
    n, c, s = process.length, process.context, process.noise_std
    d = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    k = np.exp(-d / 4.0) + 0.5 * np.exp(-2 * np.sin(math.pi * d / 3) ** 2 / 0.7**2)
    inverse = np.linalg.inv(k[:c, :c] + s**2 * np.eye(c))
    return k[:, :c] @ inverse, k - k[:, :c] @ inverse @ k[:c] + s**2 * np.eye(n)


def test_the_noise_is_the_process_given_the_context() -> None:
    gain, spread = by_definition(OU)
    like = torch.randn(1, 1, 8, dtype=torch.float64)
    assert torch.allclose(OU.centre(like)[0, 0], torch.from_numpy(gain) @ like[0, 0, :5], atol=1e-10)
    assert torch.allclose(OU.covariance, torch.from_numpy(spread), atol=1e-10)
    draws = OU.noise(like.expand(40_000, -1, -1), torch.Generator().manual_seed(0))[:, 0]
    # Standard error of a mean 0.007, of a covariance 0.01.
    assert torch.allclose(draws.mean(0), OU.centre(like)[0, 0], atol=0.03)
    assert torch.allclose(torch.cov(draws.T), torch.from_numpy(spread), atol=0.04)
    # The future of the state has no say.
    changed = like.clone()
    changed[..., 5:] = 9.0
    assert torch.equal(OU.centre(changed), OU.centre(like))


def test_without_a_context_the_noise_knows_nothing() -> None:
    free = CorrelatedFlow(8, 0, (Part("se", 2.0, 3.0),), 0.1)
    d = torch.arange(8.0, dtype=torch.float64)
    exact = 2 * torch.exp(-((d[:, None] - d) ** 2) / 18) + 0.01 * torch.eye(8, dtype=torch.float64)
    assert torch.allclose(free.covariance, exact, atol=1e-10)
    like = torch.ones(2, 1, 8)
    same = free.noise(like, Seeds([1, 2])) - free.noise(5 * like, Seeds([1, 2]))
    assert torch.equal(same, torch.zeros_like(same))


def test_the_path_is_straight_and_euler_steps_walk_it_exactly_for_a_known_end() -> None:
    x0, gen = torch.randn(3, 1, 8), torch.Generator().manual_seed(1)
    x, e = OU.perturb(x0, torch.tensor([0.1, 0.5, 0.9]), gen)
    assert torch.allclose(x[1], (x0[1] + e[1]) / 2)

    class Known:
        process = OU

        def __call__(self, state: Tensor, t: float, cond: object = None) -> Posterior:
            return Posterior(mean=x0)

    plan = euler(OU, [1 - i / 4 for i in range(5)])
    assert torch.allclose(sample(plan, Known(), e), x0, atol=1e-5)
    halfway = [step for step in plan.rows if step.s == 0.5]
    assert len(halfway) == 1
    assert plan.evaluations == 4


def test_plans_that_draw_normal_noise_refuse_it() -> None:
    with pytest.raises(ConfigError, match="needs a Gaussian process"):
        ancestral(OU, [0.9, 0.5, 0.1])


def test_it_is_stored_and_refuses_kernels_that_are_none() -> None:
    assert from_record(to_record(OU)) == OU
    with pytest.raises(ConfigError, match="unknown kernel 'rbf'"):
        CorrelatedFlow(8, 5, (Part("rbf"),))
    with pytest.raises(ConfigError, match="context < length"):
        CorrelatedFlow(8, 8)
    with pytest.raises(ConfigError, match="positive settings"):
        CorrelatedFlow(8, 5, (Part("ou", 1.0, 0.0),))


def test_the_settings_of_a_table_make_its_process() -> None:
    shape = Shape(12, 6)
    found = process_of(shape, FlowConfig(kernels=("periodic", "ou"), length=9.0), 24)
    assert found.parts == (Part("periodic", 1.0, 0.5, 24.0), Part("ou", 1.0, 9.0))
    assert (found.length, found.context) == (18, 12)
    # A season of one has no period; something must stay.
    assert process_of(shape, FlowConfig(kernels=("periodic",)), 1).parts[0].name == "ou"
    assert process_of(shape, FlowConfig(kernels=("periodic",), season=7), 1).parts[0].period == 7


def test_a_flow_is_trained_stored_and_sampled_in_euler_steps(tmp_path) -> None:
    table = sines(4, 90)
    trained = train(table, CONFIG, folder=tmp_path)
    model = load_model(tmp_path)
    assert model.denoiser.predicts == "flow"
    assert isinstance(model.denoiser.process, CorrelatedFlow)
    plan = plan_of(model, model.sampling)
    assert (plan.name, plan.evaluations, plan.start, plan.end) == ("euler", 32, 1.0, 0.0)
    assert list(trained.scores) == [5]
    series = list(table.series)
    few = model.sampling.model_copy(update={"num_samples": 9})
    together = forecast(model, series, few, seed=1).forecasts
    alone = forecast(model, series[2:3], few, seed=1).forecasts
    assert np.array_equal(alone[0].samples, together[2].samples)
    with pytest.raises(ConfigError, match="sampled by 'euler'"):
        forecast(model, series, SampleConfig(sampler="ddpm", guidance="none"))
    with pytest.raises(ConfigError, match="kind 'tsflow'"):
        plan_of(untrained(), SampleConfig(sampler="euler"))


def test_an_untaught_flow_already_forecasts_the_season() -> None:
    """The noise end alone, D = e, repeats the wave that the context shows."""
    shape = Shape(48, 24)
    process = process_of(shape, FlowConfig(kernels=("periodic", "ou", "constant")), 24)
    level = process_of(shape, FlowConfig(kernels=("periodic", "ou")), 24)
    wave = np.sin(2 * np.pi * np.arange(72) / 24) + 3
    like = torch.from_numpy(wave / 3)[None, None]
    centre = process.centre(like)[0, 0, 48:].numpy() * 3
    assert np.abs(centre - wave[48:]).max() < 0.6
    # Without a constant kernel the level falls back to zero.
    assert np.abs(level.centre(like)[0, 0, 48:].numpy() * 3 - wave[48:]).max() > 1
