"""Haze: static unless it breathes, each ingredient with its switch, and a mixture that is a plain sum."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.ultrasound.signal import envelope
from domains.ultrasound.simulate import HazeRecipe, draw_haze, get_probe, haze_lines, mix

PROBE = get_probe("cardiac")
CLUTTER = HazeRecipe(ladder=())


def correlation(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def mean_lag(lines: Tensor, lag: int) -> float:
    """Correlation of the RF of lines `lag` apart, far from the start of the haze."""
    rows = lines[500:1800]
    return correlation(rows[:, lag:], rows[:, :-lag])


def test_haze_stands_still() -> None:
    frames = haze_lines(draw_haze(0), PROBE, [0.0, 0.3, 0.9], seed=0)
    assert torch.equal(frames[0], frames[1])
    assert torch.equal(frames[0], frames[2])


def test_breathing_moves_haze_along_the_range() -> None:
    # A quarter period of 4 s: the amplitude itself, 10 samples.
    recipe = replace(CLUTTER, breathing_m=10 * PROBE.sample_m)
    rest, deep = haze_lines(recipe, PROBE, [0.0, 1.0], seed=0)
    torch.testing.assert_close(deep[10:], rest[:-10], atol=1e-4 * float(rest.abs().max()), rtol=0)


def test_ladder_adds_two_delayed_copies() -> None:
    spacing = 150
    recipe = HazeRecipe(spacing_m=spacing * PROBE.sample_m)
    clutter = haze_lines(CLUTTER, PROBE, [0.0], seed=2)[0]
    full = haze_lines(recipe, PROBE, [0.0], seed=2)[0]
    copies = torch.zeros_like(clutter)
    copies[spacing:] += 0.4 * clutter[:-spacing]
    copies[2 * spacing :] += 0.16 * clutter[: -2 * spacing]
    # Delays go through float32 transforms.
    torch.testing.assert_close(full - clutter, copies, atol=1e-5 * float(clutter.abs().max()), rtol=0)
    only = haze_lines(replace(recipe, diffuse=False), PROBE, [0.0], seed=2)[0]
    torch.testing.assert_close(only, copies, atol=1e-5 * float(clutter.abs().max()), rtol=0)


def test_nothing_returns_from_the_first_millimetres() -> None:
    lines = haze_lines(CLUTTER, PROBE, [0.0], seed=0)[0]
    # The clutter starts at 12 mm; its 5-cycle pulse reaches 1.9 mm ahead.
    assert lines[: int(0.009 / PROBE.sample_m)].abs().max() < 1e-3 * lines.abs().max()
    assert (
        lines[int(0.014 / PROBE.sample_m) : int(0.03 / PROBE.sample_m)].abs().max() > 0.3 * lines.abs().max()
    )


def test_haze_decays_with_depth_at_the_stated_rate() -> None:
    recipe = replace(CLUTTER, near_db=0.0, swing_db=0.0, decay_db_mm=0.1)
    lines = haze_lines(recipe, PROBE, [0.0], seed=1)[0]
    power = (lines**2).mean(dim=1)
    level = [10 * torch.log10(power[k : k + 400].mean()).item() for k in (400, 1600)]
    # 1200 samples of 56.6 um are 67.9 mm, 6.8 dB; about 1500 independent cells in each window give +-.15 dB.
    assert level[0] - level[1] == pytest.approx(0.1 * 1e3 * 1200 * PROBE.sample_m, abs=0.6)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_lateral_factor_widens_the_haze(factor: float) -> None:
    # Two Gaussian beams of width w overlap as exp(-2 ln2 (lag / w)^2).
    lines = haze_lines(replace(CLUTTER, lateral_factor=factor), PROBE, [0.0], seed=0)[0]
    step = PROBE.sector_rad / (PROBE.lines - 1)
    width = 1.8 * factor * PROBE.lateral_width
    for lag in (2, 4):
        # About 7000 (3500) independent cells: +-.02, twice that is allowed.
        assert mean_lag(lines, lag) == pytest.approx(2 ** (-2 * (lag * step / width) ** 2), abs=0.05)


def test_haze_sits_lower_in_frequency_than_the_tissue() -> None:
    lines = haze_lines(CLUTTER, PROBE, [0.0], seed=0)[0]
    power = torch.fft.rfft(lines, dim=0).abs().square().sum(1)
    frequency = torch.fft.rfftfreq(lines.shape[0], d=1 / PROBE.fs_hz)
    centre = float((power * frequency).sum() / power.sum())
    # 5 cycles: the spectrum is .5 MHz wide and holds some 100 independent bins per line over 96 lines.
    assert centre == pytest.approx(0.9 * 3.4e6, rel=0.01)


def test_mixture_is_the_sum_of_its_parts_at_the_stated_level(gen: torch.Generator) -> None:
    tissue, haze = torch.randn(2, 3, 40, 8, generator=gen, dtype=torch.complex128)
    out = mix(5 * tissue, 0.1 * haze, 0.3)
    assert torch.equal(out.y, out.tissue + out.haze)
    assert out.y.abs().max().item() == pytest.approx(1, abs=1e-12)
    assert (out.haze.abs().max() / out.tissue.abs().max()).item() == pytest.approx(0.3, abs=1e-12)
    # One factor for the truth: tissue keeps its shape.
    torch.testing.assert_close(out.tissue / out.tissue.abs().max(), tissue / tissue.abs().max())


def test_mixture_refuses_what_does_not_match(gen: torch.Generator) -> None:
    lines = torch.randn(1, 8, 4, generator=gen)
    with pytest.raises(ConfigError, match="level"):
        mix(lines, lines, -0.1)
    with pytest.raises(DataError, match="differ"):
        mix(lines, lines[:, :4], 0.1)
    with pytest.raises(DataError, match="zero"):
        mix(lines, torch.zeros_like(lines), 0.1)
    with pytest.raises(ConfigError, match="ladder"):
        HazeRecipe(diffuse=False, ladder=())


def test_haze_is_speckle_of_its_own() -> None:
    first, second = (haze_lines(CLUTTER, PROBE, [0.0], seed=seed)[0] for seed in (0, 1))
    assert abs(correlation(first, second)) < 0.05
    level = envelope(first, fs_hz=PROBE.fs_hz, f0_hz=PROBE.f0_hz, bandwidth=PROBE.bandwidth)
    assert torch.isfinite(level).all()
