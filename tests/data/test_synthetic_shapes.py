"""The world of shapes: masks are areas in closed form, attributes are independent, the oracle reads them."""

from dataclasses import replace
from math import pi, sqrt

import numpy as np
import pytest

from core.errors import ConfigError, DataError
from data.synthetic.shapes import COLOURS, PALETTE, SHAPES, Attributes, Shapes

WORLD = Shapes()


def one(kind: int, centre: tuple[float, float], radius: float) -> Attributes:
    return Attributes(np.array([kind]), np.array([0]), np.array([centre]), np.array([radius]))


def every_pair(n: int, gen: np.random.Generator) -> Attributes:
    """n pictures of each of the twelve pairs of shape and colour."""
    found = WORLD.sample(12 * n, gen)
    pair = np.arange(12 * n) % 12
    return replace(found, shape=pair // 4, colour=pair % 4)


@pytest.mark.parametrize("kind", range(3), ids=SHAPES)
def test_a_mask_has_the_area_of_its_shape(kind: int) -> None:
    drawn = replace(WORLD.sample(50, np.random.default_rng(0)), shape=np.full(50, kind))
    masks = WORLD.render(drawn).masks
    # float32 shares: 1024 roundings of 6e-8 at most.
    assert masks.sum((1, 2)) == pytest.approx(pi * drawn.radius**2, abs=1e-4)
    assert masks.min() >= 0
    assert masks.max() == 1
    # The wrong variant, hard edges, misses the area by pixels.
    assert np.abs((masks >= 0.5).sum((1, 2)) - pi * drawn.radius**2).max() > 1


@pytest.mark.parametrize("kind", range(3), ids=SHAPES)
def test_a_mask_is_the_share_of_points_inside(kind: int) -> None:
    centre, radius, fine = (14.3, 17.8), 5.2, 16
    at = (np.arange(32 * fine) + 0.5) / fine
    v, u = (at - centre[0])[:, None], np.abs(at - centre[1])[None]
    match SHAPES[kind]:
        case "circle":
            inside = u**2 + v**2 <= radius**2
        case "square":
            inside = np.maximum(u, np.abs(v)) <= radius * sqrt(pi) / 2
        case _:
            side = radius * sqrt(4 * pi / sqrt(3))
            height = side * sqrt(3) / 2
            inside = (v <= height / 3) & (u <= (v + 2 * height / 3) / sqrt(3))
    counted = inside.reshape(32, fine, 32, fine).mean((1, 3))
    # An edge is misplaced by half a point at most: 1 / 32 of a pixel, twice at a corner, over 40 pixels.
    assert WORLD.render(one(kind, centre, radius)).masks[0] == pytest.approx(counted, abs=2 / 32)
    assert counted.sum() == pytest.approx(pi * radius**2, abs=40 / 32)


@pytest.mark.parametrize("kind", range(3), ids=SHAPES)
def test_a_whole_pixel_moves_the_picture_and_the_edge_cuts_it(kind: int) -> None:
    here, there = (WORLD.render(one(kind, at, 5.0)).pictures[0] for at in ((12.4, 15.1), (15.4, 13.1)))
    assert there == pytest.approx(np.roll(here, (3, -2), (1, 2)), abs=1e-6)
    cut = WORLD.render(one(kind, (15.2, 0.0), 5.0)).masks[0]  # symmetric about its column: half is left
    assert cut.sum() == pytest.approx(pi * 25 / 2, abs=1e-4)


def test_a_picture_is_background_and_colour_mixed_by_the_mask() -> None:
    scene = WORLD.draw(30, np.random.default_rng(1))
    colour = np.array([PALETTE[COLOURS[k]] for k in scene.attributes.colour])[:, :, None, None]
    mask = scene.masks[:, None]
    assert scene.pictures == pytest.approx(0.5 * (1 - mask) + colour * mask, abs=1e-6)
    assert scene.pictures.dtype == np.float32


def test_attributes_are_uniform_and_independent() -> None:
    n = 12_000
    found = WORLD.sample(n, np.random.default_rng(2))
    counts = np.bincount(found.shape * 4 + found.colour, minlength=12)
    assert counts == pytest.approx(n / 12, abs=4.5 * sqrt(n / 12))
    # Correlations of independent attributes have a standard error of 1 / sqrt(n).
    place = [found.shape, found.colour, *found.centre.T, found.radius]
    assert np.corrcoef(place) == pytest.approx(np.eye(5), abs=4.5 / sqrt(n))
    assert found.radius.min() >= WORLD.radius[0]
    assert found.radius.max() <= WORLD.radius[1]


def test_every_shape_lies_within_the_picture() -> None:
    drawn = every_pair(40, np.random.default_rng(3))
    edges = WORLD.render(drawn).masks
    assert edges.sum((1, 2)) == pytest.approx(pi * drawn.radius**2, abs=1e-4)


def test_the_oracle_reads_exact_pictures_exactly() -> None:
    scene = WORLD.render(every_pair(15, np.random.default_rng(4)))
    found, misfit = WORLD.read(scene.pictures)
    assert np.array_equal(found.shape, scene.attributes.shape)
    assert np.array_equal(found.colour, scene.attributes.colour)
    assert found.centre == pytest.approx(scene.attributes.centre, abs=1e-5)
    assert found.radius == pytest.approx(scene.attributes.radius, abs=1e-5)
    assert misfit.max() < 1e-6


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_the_oracle_withstands_noise(noise: float) -> None:
    gen = np.random.default_rng(5)
    scene = WORLD.render(every_pair(15, gen))
    found, misfit = WORLD.read(scene.pictures + noise * gen.standard_normal(scene.pictures.shape))
    # 180 pictures: at most one error.
    assert (found.shape == scene.attributes.shape).mean() >= 0.99
    assert (found.colour == scene.attributes.colour).mean() >= 0.99
    # The misfit is the noise: 3072 entries give it a standard error of 1.3 %.
    assert misfit == pytest.approx(noise, rel=0.06)


def test_the_oracle_errs_under_much_noise() -> None:
    """What it is asked can be missed: at a noise as large as the contrast it is not right by construction."""
    gen = np.random.default_rng(6)
    scene = WORLD.render(every_pair(10, gen))
    found, _ = WORLD.read(scene.pictures + 0.5 * gen.standard_normal(scene.pictures.shape))
    assert 1 / 3 < (found.shape == scene.attributes.shape).mean() < 0.95


def test_the_misfit_tells_what_is_not_one_shape() -> None:
    circle, square = (
        WORLD.render(one(k, at, 5.0)).pictures[0] for k, at in ((0, (9.0, 9.0)), (1, (23.0, 23.0)))
    )
    empty, noise = np.full_like(circle, 0.5), np.random.default_rng(7).uniform(size=circle.shape)
    misfit = WORLD.read(np.stack([circle, circle + square - 0.5, empty, noise])).misfit
    assert misfit[0] < 1e-6
    assert misfit[1:].min() > 0.02


def test_shapes_lie_between_one_another_where_they_should() -> None:
    """Half a circle and half a square of the same place and size is read as either, with a misfit."""
    between = sum(WORLD.render(one(k, (16.0, 16.0), 6.0)).pictures for k in (0, 1)) / 2
    found, misfit = WORLD.read(between)
    assert found.shape[0] in (0, 1)
    assert 0.01 < misfit[0] < 0.1


def test_other_sizes_and_backgrounds_are_read_too() -> None:
    world = Shapes(size=48, radius=(3.0, 9.0), background=(0.0, 0.0, 0.0))
    scene = world.draw(60, np.random.default_rng(8))
    found = world.read(scene.pictures).attributes
    assert np.array_equal(found.shape, scene.attributes.shape)
    assert np.array_equal(found.colour, scene.attributes.colour)
    assert found.radius == pytest.approx(scene.attributes.radius, abs=1e-4)


def test_the_same_seed_gives_the_same_pictures() -> None:
    one, two = (WORLD.draw(5, np.random.default_rng(9)).pictures for _ in range(2))
    assert np.array_equal(one, two)


def test_nothing_is_drawn_and_read_as_nothing() -> None:
    scene = WORLD.draw(0, np.random.default_rng(0))
    assert scene.pictures.shape == (0, 3, 32, 32)
    assert len(WORLD.read(scene.pictures).attributes) == 0


def test_bad_settings_and_pictures_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a size of at least 3\.11 times the largest"):
        Shapes(radius=(4.0, 12.0))
    with pytest.raises(ConfigError, match="too near to red"):
        Shapes(background=(0.8, 0.2, 0.2))
    with pytest.raises(ConfigError, match=r"values in \[0, 1\]"):
        Shapes(background=(0.0, 0.0, 2.0))
    with pytest.raises(DataError, match="shape must lie in 0 to 2, got 3 to 3"):
        WORLD.render(one(3, (16, 16), 5.0))
    with pytest.raises(DataError, match="a radius must be positive"):
        WORLD.render(one(0, (16, 16), 0.0))
    with pytest.raises(DataError, match=r"expected pictures \(n, 3, 32, 32\), got \(2, 32, 32, 3\)"):
        WORLD.read(np.zeros((2, 32, 32, 3)))
    with pytest.raises(DataError, match="not finite"):
        WORLD.read(np.full((1, 3, 32, 32), np.nan))
