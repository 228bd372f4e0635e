"""Whatever a network predicts, the denoiser gives back the clean state; EDM scaling has unit variance."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import edm_coeffs, noise_of, score_of, wrap
from core.errors import ConfigError
from core.process import VE, VP, CosineVP, Gaussian, Karras, RectifiedFlow, SigmaPower, SubVP
from core.state import Symmetric

PROCESSES = [VP(), SubVP(), VE(), Karras(), CosineVP(), RectifiedFlow(), SigmaPower()]
every_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
STD = 0.7


def target(kind: str, process: Gaussian, x0: Tensor, eps: Tensor, t: float) -> Tensor:
    """What a perfect network of this kind returns, from the definitions in the sources."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    slope, spread = process.rates(t)
    x = alpha * x0 + sigma * eps
    _, _, c_skip, c_out = edm_coeffs(process, t, STD)
    return {
        "x0": x0,
        "eps": eps,
        "v": alpha * eps - sigma * x0,
        "score": -eps / sigma,
        "flow": slope * x0 + spread * eps,
        "edm": (x0 - c_skip * x) / c_out,
    }[kind]


@every_process
@pytest.mark.parametrize("kind", ["x0", "eps", "v", "score", "flow", "edm"])
def test_a_perfect_network_gives_back_the_clean_state(process: Gaussian, kind: Any, gen: Any) -> None:
    x0, eps = torch.randn(2, 4, 3, generator=gen, dtype=torch.float64)
    low, high = process.ends
    # The straight path has no signal at its far end, where noise and score say nothing about the clean state.
    high = high if process.alpha(high) > 0 else 0.99
    times = torch.tensor([low + (high - low) * u for u in (0.02, 0.3, 0.6, 1.0)], dtype=torch.float64)
    answers = torch.stack(
        [target(kind, process, a, e, float(t)) for a, e, t in zip(x0, eps, times, strict=True)]
    )
    x = process.mix(x0, eps, times)
    batched = wrap(lambda *_: answers, process, predicts=kind, data_std=STD)(x, times).mean
    # Rounding grows with the noise-to-signal ratio, at most 5000 here.
    assert torch.allclose(batched, x0, rtol=0, atol=1e-9)
    for i in range(4):
        only = slice(i, i + 1)
        single = wrap(lambda *_, only=only: answers[only], process, predicts=kind, data_std=STD)
        assert torch.allclose(single(x[only], float(times[i])).mean, x0[only], rtol=0, atol=1e-9)


def recorder(seen: list[Any]) -> Callable[..., Tensor]:
    def net(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        seen.append((x, t, cond))
        return torch.zeros_like(x)

    return net


@every_process
def test_edm_inputs_and_targets_have_unit_variance(process: Gaussian, gen: torch.Generator) -> None:
    # Karras et al. 2022, eqs. 114 to 131: c_in x and (x0 - c_skip x) / c_out, for data of deviation STD.
    x0 = STD * torch.randn(40_000, 1, generator=gen, dtype=torch.float64)
    low, high = process.ends
    for t in (low + 0.1 * (high - low), low + 0.9 * (high - low)):
        x, _ = process.perturb(x0, t, gen)
        seen: list[Any] = []
        wrap(recorder(seen), process, predicts="edm", data_std=STD)(x, t)
        _, _, c_skip, c_out = edm_coeffs(process, t, STD)
        # 40 000 draws: standard error of a deviation 0.0035; four of them.
        assert seen[0][0].std().item() == pytest.approx(1, abs=0.014)
        assert ((x0 - c_skip * x) / c_out).std().item() == pytest.approx(1, abs=0.014)


def test_edm_coefficients_are_those_of_the_published_table() -> None:
    # Table 1, last column, written out for sigma = 3 and sigma_data = 0.5.
    sigma, std = 3.0, 0.5
    root = math.sqrt(sigma**2 + std**2)
    expected = (1 / root, math.log(sigma) / 4, std**2 / root**2, sigma * std / root)
    assert edm_coeffs(Karras(), sigma, std) == pytest.approx(expected, rel=1e-14)


def test_the_edm_network_reads_a_quarter_of_the_log_ratio_for_each_sample() -> None:
    seen: list[Any] = []
    net = wrap(recorder(seen), VP(), predicts="edm", data_std=STD)
    times = torch.tensor([0.2, 0.9])
    net(torch.zeros(2, 3), times, "label")
    expected = [math.log(VP().ratio(t)) / 4 for t in times.tolist()]
    assert seen[0][1].tolist() == pytest.approx(expected, rel=1e-5)
    assert seen[0][2] == "label"


def test_other_networks_read_the_time_of_each_sample() -> None:
    seen: list[Any] = []
    wrap(recorder(seen), VP(), predicts="eps")(torch.zeros(3, 2), 0.25)
    assert seen[0][1].tolist() == [0.25] * 3


def test_score_and_noise_are_two_names_for_one_thing(gen: torch.Generator) -> None:
    process = VP()
    x0, eps = torch.randn(2, 5, 2, generator=gen, dtype=torch.float64)
    x = process.mix(x0, eps, 0.4)
    assert torch.allclose(noise_of(process, x, x0, 0.4), eps, atol=1e-12)
    assert torch.allclose(score_of(process, x, x0, 0.4), -eps / process.sigma(0.4), atol=1e-12)


def test_the_output_is_projected_into_the_space_of_the_process() -> None:
    lopsided = torch.arange(9.0).reshape(1, 3, 3)
    out = wrap(lambda *_: lopsided, VP(space=Symmetric()), predicts="x0")(torch.zeros(1, 3, 3), 0.5).mean
    assert torch.equal(out, out.mT)
    assert torch.equal(out.diagonal(dim1=1, dim2=2), torch.zeros(1, 3))


def test_parameters_of_the_network_are_those_of_the_denoiser() -> None:
    net = torch.nn.Linear(2, 2)
    denoiser = wrap(lambda x, t, cond: x, VP(), predicts="x0")
    assert not list(denoiser.parameters())
    assert len(list(wrap(net, VP(), predicts="x0").parameters())) == 2


def test_a_misspelt_prediction_names_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="unknown prediction 'scor'") as caught:
        wrap(lambda *_: None, VP(), predicts="scor")  # type: ignore[arg-type]
    assert caught.value.hint == "Did you mean 'score'?"


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_a_deviation_that_is_not_positive_is_refused(std: float) -> None:
    with pytest.raises(ConfigError, match="data_std must be positive"):
        wrap(lambda *_: None, VP(), predicts="edm", data_std=std)
