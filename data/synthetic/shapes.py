"""One coloured shape per picture, with known attributes, exact masks and an oracle.

A picture is `background + mask * (colour - background)`. The mask is the share of every pixel that the shape
covers, as an area in closed form and not by sampling points: with w(v) half the width of the shape in row v,

    H(c, y) = int^y min(c, w(v)) dv,    area left of x and above y, up to a function of y = sign(x) H(|x|, y)

and a pixel's share is the second difference of that over its corners. All shapes of one radius have the area
pi radius^2, and the law of the centre is the same for all, so that neither size nor place tells the shape:

    circle      of that radius
    square      upright, side radius sqrt(pi)
    triangle    equilateral, apex up, circumradius radius sqrt(4 pi / (3 sqrt 3)), centre at the centroid

Shape and colour are uniform and independent, the radius is uniform in its range, and the centre is uniform
where the largest shape of that radius lies within the picture. Lengths are in pixels; a centre is (row,
column) from the upper left corner of the picture, so that pixel k covers [k, k + 1].

The oracle inverts this by least squares: the nearest colour, then for each shape the best centre and radius
by the Gauss-Newton method, then the shape of least error. On exact pictures it is exact.

Source: this project; row F6 of the core specification's fixtures.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from core.errors import ConfigError, DataError

__all__ = ["COLOURS", "PALETTE", "SHAPES", "Attributes", "Reading", "Scene", "Shapes"]

Array = np.ndarray[Any, np.dtype[Any]]

SHAPES = ("circle", "square", "triangle")
PALETTE = {
    "red": (0.90, 0.15, 0.15),
    "green": (0.15, 0.75, 0.20),
    "blue": (0.15, 0.25, 0.90),
    "yellow": (0.95, 0.85, 0.15),
}
COLOURS = tuple(PALETTE)
CIRCUMRADIUS = math.sqrt(4 * math.pi / (3 * math.sqrt(3)))  # of the triangle, over the radius: 1.555
CONTRAST = 0.3  # least distance of a colour from the background
ITERATIONS = 6  # of Gauss-Newton; the last moves a centre by less than 1e-6 pixels on exact pictures


@dataclass(frozen=True)
class Attributes:
    """What n pictures show.

    Args:
        shape: (n,), whole numbers that index SHAPES.
        colour: (n,), whole numbers that index COLOURS.
        centre: (n, 2), row and column of the centre of area, pixels.
        radius: (n,), of the circle of the same area, pixels.
    """

    shape: Array
    colour: Array
    centre: Array
    radius: Array

    def __len__(self) -> int:
        return len(self.shape)


class Scene(NamedTuple):
    """Pictures (n, 3, size, size) float32 in [0, 1], masks (n, size, size) float32 in [0, 1], attributes."""

    pictures: Array
    masks: Array
    attributes: Attributes


class Reading(NamedTuple):
    """What the oracle sees.

    `misfit` (n,) is the root mean square of the picture less the fitted one, unit of [0, 1]: the noise for a
    noisy draw, and more for what is not one whole shape.
    """

    attributes: Attributes
    misfit: Array


@dataclass(frozen=True)
class Shapes:
    """The world of this module.

    Args:
        size: height and width of a picture, pixels.
        radius: smallest and largest radius, pixels.
        background: red, green and blue in [0, 1].
    """

    size: int = 32
    radius: tuple[float, float] = (5.0, 7.0)
    background: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        low, high = self.radius
        if not 1 <= low <= high or 2 * CIRCUMRADIUS * high > self.size:
            raise ConfigError(
                f"expected 1 <= smallest <= largest radius, and a size of at least "
                f"{2 * CIRCUMRADIUS:.2f} times the largest, got radius {self.radius} and size {self.size}.",
                hint="Make the radius smaller or the picture larger.",
            )
        if not all(0 <= value <= 1 for value in self.background):
            raise ConfigError(f"a background has values in [0, 1], got {self.background}.")
        near = [name for name in COLOURS if math.dist(PALETTE[name], self.background) < CONTRAST]
        if near:
            raise ConfigError(
                f"the background {self.background} is too near to {near[0]} {PALETTE[near[0]]}.",
                hint=f"Keep it at least {CONTRAST} away from every colour of the palette.",
            )

    def sample(self, n: int, gen: np.random.Generator) -> Attributes:
        """Attributes of n independent pictures; `dataclasses.replace` fixes some of them."""
        radius = gen.uniform(*self.radius, n)
        margin = (CIRCUMRADIUS * radius)[:, None]
        centre = margin + gen.uniform(size=(n, 2)) * (self.size - 2 * margin)
        return Attributes(
            gen.integers(len(SHAPES), size=n), gen.integers(len(COLOURS), size=n), centre, radius
        )

    def render(self, attributes: Attributes) -> Scene:
        """Draw the pictures of these attributes. Shapes may reach beyond the edge and are cut there.

        Raises:
            DataError: a shape or colour that does not exist, or a radius that is not positive.
        """
        for name, known in (("shape", SHAPES), ("colour", COLOURS)):
            found = np.asarray(getattr(attributes, name))
            if len(found) and not (found.min() >= 0 and found.max() < len(known)):
                raise DataError(
                    f"{name} must lie in 0 to {len(known) - 1}, got {found.min()} to {found.max()}.",
                    hint=f"These are indices of {', '.join(known)}.",
                )
        if not (np.asarray(attributes.radius) > 0).all():
            raise DataError(f"a radius must be positive, got {np.min(attributes.radius)}.")
        masks = np.empty((len(attributes), self.size, self.size))
        for kind in range(len(SHAPES)):
            rows = np.asarray(attributes.shape) == kind
            masks[rows] = self._covered(kind, attributes.centre[rows], attributes.radius[rows]).clip(0, 1)
        step = self._steps()[attributes.colour]
        pictures = self._ground() + masks[:, None] * step[:, :, None, None]
        return Scene(pictures.astype(np.float32), masks.astype(np.float32), attributes)

    def draw(self, n: int, gen: np.random.Generator) -> Scene:
        """n independent pictures with their masks and attributes."""
        return self.render(self.sample(n, gen))

    def read(self, pictures: Array) -> Reading:
        """Read the attributes off pictures: an oracle for draws, noisy draws and samples of a model.

        Args:
            pictures: (n, 3, size, size), unit of [0, 1]; values outside are used as they are.

        Raises:
            DataError: another shape, or values that are not finite.
        """
        want = (3, self.size, self.size)
        if pictures.ndim != 4 or pictures.shape[1:] != want:
            raise DataError(f"expected pictures (n, {want[0]}, {want[1]}, {want[2]}), got {pictures.shape}.")
        if not np.isfinite(pictures).all():
            raise DataError("the pictures have values that are not finite.")
        off = pictures.astype(np.float64) - self._ground()
        near = self._near(off)
        colour = self._colour(off, near)
        step = self._steps()[colour]
        seen = np.einsum("nchw,nc->nhw", off, step) / np.square(step).sum(1)[:, None, None]
        fits = [self._fit(kind, seen, near) for kind in range(len(SHAPES))]
        errors = np.stack(
            [np.square(seen - self._covered(k, *fit)).sum((1, 2)) for k, fit in enumerate(fits)]
        )
        shape, each = errors.argmin(0), np.arange(len(off))
        centre, radius = (np.stack([fit[part] for fit in fits])[shape, each] for part in (0, 1))
        found = Attributes(shape, colour, centre, radius)
        misfit = np.square(pictures - self.render(found).pictures).mean((1, 2, 3))
        return Reading(found, np.sqrt(misfit))

    def _ground(self) -> Array:
        return np.array(self.background)[:, None, None]

    def _steps(self) -> Array:
        """(colours, 3), from the background to each colour."""
        return np.array([PALETTE[name] for name in COLOURS]) - np.array(self.background)

    def _covered(self, kind: int, centre: Array, radius: Array) -> Array:
        """(n, size, size), the share of each pixel that shapes of one kind cover, float64."""
        corners = np.arange(self.size + 1.0)
        y = (corners - centre[:, :1])[:, :, None]
        x = (corners - centre[:, 1:])[:, None, :]
        area = np.sign(x) * HALVES[kind](np.abs(x), y, radius[:, None, None])
        return np.diff(np.diff(area, axis=1), axis=2)

    def _near(self, off: Array) -> Array:
        """(n, size, size), the pixels around the place with most of what is not background."""
        apart = np.abs(np.subtract.outer(np.arange(self.size), np.arange(self.size)))
        window = (apart <= self.radius[0]).astype(np.float64)
        sums = window @ np.square(off).sum(1) @ window
        row, column = np.unravel_index(sums.reshape(len(off), self.size**2).argmax(1), sums.shape[1:])
        close = apart <= 1.2 * CIRCUMRADIUS * self.radius[1]
        return close[row][:, :, None] & close[column][:, None, :]

    def _colour(self, off: Array, near: Array) -> Array:
        """(n,), the colour nearest to the mean of the pixels, weighed by how far they are from the ground."""
        weight = np.square(off).sum(1) * near
        mean = np.einsum("nchw,nhw->nc", off, weight) / np.maximum(weight.sum((1, 2)), 1e-300)[:, None]
        return np.square(mean[:, None] - self._steps()).sum(2).argmin(1)

    def _fit(self, kind: int, seen: Array, near: Array) -> tuple[Array, Array]:
        """Centre (n, 2) and radius (n,) of one kind that explain the shares `seen` best."""
        inside = np.clip(seen, 0, 1) * near * (seen > 0.3)
        mass, at = np.maximum(inside.sum((1, 2)), 1.0), np.arange(self.size) + 0.5
        start = [inside.sum(2) @ at / mass, inside.sum(1) @ at / mass, np.sqrt(mass / math.pi)]
        low = np.array([0, 0, 0.75 * self.radius[0]])
        high = np.array([self.size, self.size, 1.25 * self.radius[1]])
        found, tiny = np.clip(np.stack(start, 1), low, high), 1e-4
        for _ in range(ITERATIONS):
            here = self._covered(kind, found[:, :2], found[:, 2])
            moved = [found + tiny * unit for unit in np.eye(3)]
            slopes = np.stack([(self._covered(kind, m[:, :2], m[:, 2]) - here) / tiny for m in moved], 1)
            slopes, error = (
                slopes.reshape(len(seen), 3, self.size**2),
                (seen - here).reshape(len(seen), self.size**2, 1),
            )
            square = slopes @ slopes.swapaxes(1, 2) + 1e-3 * np.eye(3)
            step = np.linalg.solve(square, slopes @ error)[:, :, 0]
            found = np.clip(found + np.clip(step, -1.0, 1.0), low, high)
        return found[:, :2], found[:, 2]


# H(c, y) of each shape of this radius, c >= 0; arguments broadcast.


def _circle(c: Array, y: Array, radius: Array) -> Array:
    def whole(v: Array) -> Array:
        """int_0^v sqrt(radius^2 - u^2) du."""
        return (v * np.sqrt(np.maximum(radius**2 - v**2, 0)) + radius**2 * np.arcsin(v / radius)) / 2

    c, y = np.minimum(c, radius), np.clip(y, -radius, radius)
    bend = np.sqrt(radius**2 - c**2)  # rows nearer than this are wider than c
    ends = whole(np.minimum(y, -bend)) - whole(-radius) + whole(np.maximum(y, bend)) - whole(bend)
    return ends + c * (np.clip(y, -bend, bend) + bend)


def _square(c: Array, y: Array, radius: Array) -> Array:
    half = radius * math.sqrt(math.pi) / 2
    return np.minimum(c, half) * (np.clip(y, -half, half) + half)


def _triangle(c: Array, y: Array, radius: Array) -> Array:
    apex, slope = CIRCUMRADIUS * radius, 1 / math.sqrt(3)
    c, down = np.minimum(c, 1.5 * slope * apex), np.clip(y + apex, 0, 1.5 * apex)
    narrow = np.minimum(down, c / slope)  # rows above this are narrower than c
    return slope * narrow**2 / 2 + c * (down - narrow)


HALVES = (_circle, _square, _triangle)
