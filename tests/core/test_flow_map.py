"""Flow maps where the path is known: normal data move along x_s = a_s m + (c_s / c_t) (x_t - a_t m)."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior, wrap
from core.errors import ConfigError
from core.flow_map import jump, jumps, told
from core.plan import uniform
from core.process import VP, CosineVP, RectifiedFlow
from core.run import sample

MEAN, STD = 1.5, 0.4
PROCESSES = [RectifiedFlow(), CosineVP(), VP()]


def exact(process: Any, x: Tensor, t: Any, s: Any) -> Tensor:
    """The state at time s of the path through x at time t, for data N(MEAN, STD^2)."""

    def spread(time: Any) -> Any:
        return ((process.alpha(time) * STD) ** 2 + process.sigma(time) ** 2) ** 0.5

    return process.alpha(s) * MEAN + spread(s) / spread(t) * (x - process.alpha(t) * MEAN)


@dataclass
class ExactMap:
    """The g whose jumps are exact, and which is the posterior mean where t = s."""

    process: Any
    sign: float = 1.0

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        s = cond["to"].double()[:, None]
        t = torch.as_tensor(t, dtype=torch.float64).expand(len(x))[:, None]
        s = torch.where((s - t).abs() < 1e-7, s * (1 - 1e-4), s)  # the limit, to 1e-4
        keep = self.process.sigma(s) / self.process.sigma(t)
        pull = self.process.alpha(s) - self.process.alpha(t) * keep
        return Posterior(mean=self.sign * (exact(self.process, x, t, s) - keep * x) / pull)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("calls", [1, 2, 5])
def test_any_number_of_exact_jumps_ends_on_the_path(process: Any, calls: int, gen: torch.Generator) -> None:
    grid = uniform(process, calls)
    plan, model = jumps(ExactMap(process), grid)
    x = process.prior(torch.zeros(64, 3, dtype=torch.float64), gen, plan.start)
    found = sample(plan, model, x)
    assert plan.evaluations == calls
    assert not plan.stochastic
    # The condition carries the target in the state's own type, float64 here.
    assert torch.allclose(found, exact(process, x, plan.start, plan.end), atol=1e-9)
    wrong = sample(plan, jumps(ExactMap(process, sign=-1.0), grid)[1], x)
    assert not torch.allclose(wrong, found, atol=0.1)


def test_a_jump_to_where_one_is_changes_nothing() -> None:
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    model = wrap(lambda x, t, cond: torch.full_like(x, 7.0), RectifiedFlow(), predicts="flow")
    t = torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0], dtype=torch.float64)
    assert torch.equal(jump(model, x, t, t), x)


def test_on_the_straight_path_a_jump_adds_the_networks_output_times_the_way() -> None:
    gen = torch.Generator().manual_seed(2)
    x, f = torch.randn(6, 4, generator=gen).double(), torch.randn(6, 4, generator=gen).double()
    model = wrap(lambda x, t, cond: f, RectifiedFlow(), predicts="flow")
    t, s = torch.rand(2, 6, generator=gen, dtype=torch.float64) * 0.9 + 0.05
    assert torch.allclose(jump(model, x, t, s), x + (s - t)[:, None] * f, atol=1e-12)


def test_at_its_own_time_the_map_is_the_posterior_mean() -> None:
    process = RectifiedFlow()
    x = torch.linspace(-2, 3, 7, dtype=torch.float64)[:, None]
    alpha, sigma = process.alpha(0.6), process.sigma(0.6)
    mean = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)
    found = ExactMap(process)(x, 0.6, told(None, 0.6, x)).mean
    assert torch.allclose(found, mean, atol=2e-4)  # the exact map takes its limit at a distance of 6e-5


@pytest.mark.parametrize("gamma", [0.0, 0.4, 1.0])
def test_noise_added_on_the_way_keeps_the_law(gamma: float, gen: torch.Generator) -> None:
    process = RectifiedFlow()
    plan, model = jumps(ExactMap(process), [1.0, 0.7, 0.4, 0.0], gamma=gamma)
    x = process.prior(torch.zeros(40_000, 1, dtype=torch.float64), gen, plan.start)
    found = sample(plan, model, x, gen)
    # 40 000 draws: standard error 0.0019 on the mean, 0.0013 on the deviation.
    assert found.mean().item() == pytest.approx(MEAN, abs=0.008)
    assert found.std().item() == pytest.approx(STD, abs=0.006)
    assert plan.stochastic == (gamma > 0)


def test_a_run_that_always_returns_to_the_data_asks_for_clean_states_only() -> None:
    plan, model = jumps(ExactMap(RectifiedFlow()), [1.0, 0.5, 0.2, 0.0], gamma=1.0)
    assert set(model.targets.values()) == {0.0}
    assert [row.fresh for row in plan.rows] == [0.5, 0.2, 0.0]


def test_what_no_jump_can_do_is_refused() -> None:
    model = ExactMap(RectifiedFlow())
    with pytest.raises(ConfigError, match="gamma must lie"):
        jumps(model, [1.0, 0.0], gamma=1.5)
    with pytest.raises(ConfigError, match="increasing"):
        jumps(model, [0.1, 1.0])
    with pytest.raises(ConfigError, match="a mapping for its condition"):
        jump(model, torch.zeros(2, 1), 1.0, 0.0, cond=torch.zeros(2))
