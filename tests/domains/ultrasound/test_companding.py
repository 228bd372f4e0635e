"""Companding: the two laws at their closed-form points, the round trip, gradients at sigma 5 (U1)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, DataError
from domains.ultrasound.companding import (
    SATURATION,
    Law,
    compand,
    compand_channels,
    expand,
    expand_channels,
    from_channels,
    magnitude_channels,
    normalise,
    to_channels,
)

LAWS: tuple[Law, ...] = ("mu", "a")


def iq(gen: torch.Generator, *shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.complex(torch.randn(shape, generator=gen), torch.randn(shape, generator=gen))


def disk(gen: torch.Generator, n: int) -> torch.Tensor:
    """IQ values of magnitude <= 1, from 1e-6 up, with any phase."""
    r = 10 ** (-6 * torch.rand(n, generator=gen))
    return torch.polar(r, 2 * math.pi * torch.rand(n, generator=gen))


@pytest.mark.parametrize(
    ("x", "law", "exact"),
    [
        (1.0, "mu", 1.0),
        (-1.0, "mu", -1.0),
        (1 / 255, "mu", math.log(2) / math.log(256)),  # = 1/8
        (15 / 255, "mu", 0.5),  # 1 + 15 = 16 = sqrt(256)
        (1.0, "a", 1.0),
        (1 / 87.6, "a", 1 / (1 + math.log(87.6))),  # the knee
        (-0.5 / 87.6, "a", -0.5 / (1 + math.log(87.6))),
    ],
)
def test_the_laws_pass_through_their_closed_form_points(x: float, law: Law, exact: float) -> None:
    # float64: only rounding separates the two sides.
    value = compand(torch.tensor([x], dtype=torch.float64), law=law).item()
    assert value == pytest.approx(exact, abs=1e-14)


@pytest.mark.parametrize("law", LAWS)
def test_the_round_trip_of_rf_is_exact_to_1e_6(law: Law) -> None:
    x = torch.linspace(-1, 1, 200_001)
    assert (expand(compand(x, law=law), law=law) - x).abs().max() <= 1e-6


@pytest.mark.parametrize("law", LAWS)
def test_the_round_trip_of_iq_is_exact_to_1e_6(law: Law, gen: torch.Generator) -> None:
    z = disk(gen, 100_000)
    assert (expand(compand(z, law=law), law=law) - z).abs().max() <= 1e-6


@pytest.mark.parametrize("law", LAWS)
def test_companding_keeps_the_phase_of_iq(law: Law, gen: torch.Generator) -> None:
    z = disk(gen, 10_000).to(torch.complex128)
    turn = compand(z, law=law) * z.conj()
    assert (turn.imag.abs() <= 1e-12 * turn.real).all()


@pytest.mark.parametrize("law", LAWS)
@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_companding_is_monotone(law: Law, low: float, high: float) -> None:
    low, high = sorted((low, high))
    pair = compand(torch.tensor([low, high], dtype=torch.float64), law=law)
    assert pair[0] <= pair[1]


def test_companding_real_and_imaginary_parts_apart_would_turn_the_phase() -> None:
    """The wrong variant: componentwise companding of 3 + 4i (scaled) changes the direction by degrees."""
    z = torch.tensor([0.06 + 0.08j])
    wrong = torch.complex(compand(z.real), compand(z.imag))
    assert (wrong.angle() - z.angle()).abs().item() > math.radians(3)
    assert (compand(z).angle() - z.angle()).abs().item() < 1e-6


@pytest.mark.parametrize("law", LAWS)
def test_expansion_saturates_the_magnitude_at_1_2(law: Law) -> None:
    v = torch.tensor([5.0 + 0j, -40.0 + 30.0j], dtype=torch.complex128)
    top = expand(torch.tensor([SATURATION], dtype=torch.float64), law=law)
    assert torch.allclose(expand(v, law=law).abs(), top, rtol=1e-12)
    assert torch.allclose(expand(v, law=law).angle(), v.angle(), atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_expansion_is_untouched_between_1_and_1_2(law: Law) -> None:
    x = torch.tensor([1.19], dtype=torch.float64)
    x.requires_grad_()
    expand(x, law=law).sum().backward()
    assert x.grad is not None
    assert x.grad.item() > 1


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_consistency_gradient_is_finite_at_sigma_5(law: Law, channels: int, gen: torch.Generator) -> None:
    """The joint mixture at states drawn at sigma 5, with exact zeros and sub-normal values among them."""
    x, h = (5 * torch.randn(4, channels, 64, 32, generator=gen) for _ in range(2))
    x[:, :, 0], h[:, :, 0] = 0.0, 0.0
    x[:, :, 1] = 1e-40
    x.requires_grad_()
    h.requires_grad_()
    mixed = compand_channels(expand_channels(x, law=law) + 0.4 * expand_channels(h, law=law), law=law)
    mixed.square().sum().backward()
    for state in (x, h):
        assert state.grad is not None
        assert torch.isfinite(state.grad).all()
    assert torch.isfinite(mixed).all()


def test_the_gradient_of_complex_states_is_finite_at_zero_and_at_sigma_5(gen: torch.Generator) -> None:
    z = iq(gen, 2, 32, 8, scale=5.0)
    z[0, 0] = 0
    z.requires_grad_()
    compand(expand(z)).abs().square().sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("law", LAWS)
def test_channel_functions_equal_the_complex_ones(law: Law, gen: torch.Generator) -> None:
    z = iq(gen, 3, 16, 8)
    for channel_form, line_form in ((compand_channels, compand), (expand_channels, expand)):
        for lines in (z, z.real):
            # Two summation orders of the same float32 squares.
            twin = from_channels(channel_form(to_channels(lines), law=law))
            assert torch.allclose(twin, line_form(lines, law=law), rtol=1e-6, atol=1e-7)


def test_channels_put_the_real_part_first_and_round_trip(gen: torch.Generator) -> None:
    z = iq(gen, 3, 16, 8)
    x = to_channels(z)
    assert x.shape == (3, 2, 16, 8)
    assert torch.equal(x[:, 0], z.real)
    assert torch.equal(from_channels(x), z)
    assert torch.equal(from_channels(to_channels(z.real)), z.real)
    assert torch.allclose(magnitude_channels(x)[:, 0], z.abs())


def test_normalising_gives_each_frame_a_peak_of_one_and_is_undone_by_it(
    gen: torch.Generator,
) -> None:
    lines = iq(gen, 3, 16, 8) * torch.tensor([1.0, 20.0, 3e4])[:, None, None]
    scaled, peak = normalise(lines)
    assert peak.shape == (3, 1, 1)
    assert torch.allclose(scaled.abs().amax(dim=(1, 2)), torch.ones(3))
    assert torch.allclose(scaled * peak, lines, rtol=1e-6)


def test_a_frame_without_echo_is_refused_by_its_index() -> None:
    with pytest.raises(DataError, match="frame 1"):
        normalise(torch.stack((torch.ones(4, 4), torch.zeros(4, 4))))


def test_an_unknown_law_and_a_wrong_channel_count_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown companding law"):
        compand(torch.ones(2), law="mju")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="1 or 2"):
        compand_channels(torch.ones(1, 3, 4, 4))
    with pytest.raises(DataError, match="1 or 2"):
        from_channels(torch.ones(1, 3, 4, 4))
