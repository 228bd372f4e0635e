"""The heart: its motion is invertible, contracts to the stated factor and thickens the wall."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from domains.ultrasound.simulate import draw_scene

SCENE = replace(draw_scene(3), tilt_rad=0.1)


def grid() -> tuple[Tensor, Tensor]:
    """Points half a millimetre apart over the whole view."""
    z, x = torch.meshgrid(torch.arange(0, 0.12, 5e-4), torch.arange(-0.06, 0.06, 5e-4), indexing="ij")
    return x.double(), z.double()


@pytest.mark.parametrize("phase", [0.0, 0.2, 0.5, 0.9])
def test_motion_and_its_inverse_cancel(phase: float) -> None:
    x, z = grid()
    back_x, back_z = SCENE.to_reference(*SCENE.to_current(x, z, phase), phase)
    # Float64 arithmetic on coordinates of .1 m.
    torch.testing.assert_close(torch.stack([back_x, back_z]), torch.stack([x, z]), atol=1e-12, rtol=0)


def test_cavity_contracts_to_0p82_and_returns() -> None:
    assert SCENE.contraction(0.0) == 1
    assert SCENE.contraction(0.5) == pytest.approx(0.82, abs=1e-12)
    assert SCENE.contraction(1.0) == pytest.approx(1, abs=1e-12)


def test_area_of_the_cavity_falls_by_the_square_of_the_contraction() -> None:
    scene = replace(SCENE, variation_db=0.0, leaflet_db=-50.0, blood_db=-50.0)
    x, z = grid()

    def area(phase: float) -> float:
        u, v = scene.ventricle_axes(*scene.to_reference(x, z, phase))
        return (torch.hypot(u / scene.half_width_m, v / scene.half_length_m) < 1).sum().item() * 5e-4**2

    # Pixels of half a millimetre on an ellipse of about 20 by 34 mm: the outline is known to .3 %.
    assert area(0.0) == pytest.approx(math.pi * scene.half_width_m * scene.half_length_m, rel=5e-3)
    assert area(0.5) / area(0.0) == pytest.approx(0.82**2, rel=5e-3)


def test_wall_thickens_as_the_cavity_shrinks() -> None:
    # Along the short axis, to the right of the centre.
    edges = torch.tensor([SCENE.half_width_m, SCENE.half_width_m + SCENE.wall_m], dtype=torch.float64)
    x = SCENE.centre_x_m + edges * math.cos(SCENE.tilt_rad)
    z = SCENE.centre_z_m - edges * math.sin(SCENE.tilt_rad)
    moved_x, moved_z = SCENE.to_current(x, z, 0.5)
    inner, outer = torch.hypot(moved_x - SCENE.centre_x_m, moved_z - SCENE.centre_z_m)
    assert inner.item() == pytest.approx(0.82 * SCENE.half_width_m, rel=1e-9)
    assert (outer - inner).item() > 1.1 * SCENE.wall_m


def test_masks_sit_in_blood_and_in_wall() -> None:
    scene = replace(SCENE, variation_db=0.0)
    x, z = grid()
    for phase in (0.0, 0.5, 0.75):
        level, masks = scene.echogenicity_db(x, z, phase), scene.masks(x, z, phase)
        assert (level[masks["ventricle"]] == scene.blood_db).all()
        assert (level[masks["myocardium"]] == scene.wall_db).all()
        assert masks["ventricle"].sum() > 1000
        assert masks["myocardium"].sum() > 1000


def test_mitral_valve_opens_while_the_ventricle_fills() -> None:
    assert SCENE.opening(0.25) == 0
    assert SCENE.opening(0.75) == 1
    x, z = grid()
    # The middle of the closed valve is a leaflet; open leaflets leave it free.
    cos, sin = math.cos(SCENE.tilt_rad), math.sin(SCENE.tilt_rad)
    v = 0.8 * SCENE.contraction(0.25) * SCENE.half_length_m
    v -= math.tan(math.radians(20)) * 0.6 * SCENE.half_width_m * SCENE.contraction(0.25)
    x, z = torch.tensor([SCENE.centre_x_m + sin * v]), torch.tensor([SCENE.centre_z_m + cos * v])
    assert SCENE.echogenicity_db(x, z, 0.25).item() == pytest.approx(SCENE.leaflet_db)
    assert SCENE.echogenicity_db(x, z, 0.75).item() == pytest.approx(SCENE.blood_db)


def test_same_seed_draws_the_same_heart_within_the_stated_ranges() -> None:
    scenes = [draw_scene(seed) for seed in range(50)]
    assert scenes[7] == draw_scene(7)
    assert len({scene.half_width_m for scene in scenes}) == 50
    assert all(0.017 <= scene.half_width_m <= 0.023 for scene in scenes)
    assert all(0.030 <= scene.half_length_m <= 0.038 for scene in scenes)
    assert all(-60 <= scene.blood_db <= -45 for scene in scenes)


def test_impossible_hearts_are_refused() -> None:
    with pytest.raises(ConfigError, match="smallest"):
        replace(SCENE, smallest=0.2)
    with pytest.raises(ConfigError, match="positive"):
        replace(SCENE, wall_m=0.0)
    with pytest.raises(ConfigError, match="seed"):
        draw_scene(-1)
