"""Cardiac scene: an apical four-chamber view as echogenicity in dB, moving over the heart cycle.

Coordinates: (x, z) seen by the probe, metres; (u, v) of the left ventricle, v along its long axis, away from
the apex. The left ventricle is an ellipse with semi-axes (a, b); seen from its centre, every direction has an
inner radius R_in (cavity) and an outer radius R_out (ellipse with semi-axes a + wall, b + wall). The heart
moves by a radial map that is piecewise linear between 0, R_in, R_out and a radius R_far that stays put:

    R_in -> s R_in,   R_out -> (1 - OUTER_SHARE (1 - s)) R_out,   R_far -> R_far

with s = `contraction(phase)`, so the wall thickens as the cavity shrinks and the surroundings follow. The map
and its inverse are explicit: scatterers are moved forwards, pixels are looked up backwards. Phase 0 is the
full (end-diastolic) ventricle, phase .5 the smallest one. 0 dB is the level of an average wall.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from core.errors import ConfigError
from domains.ultrasound.simulate.seeding import between, stream

__all__ = ["CardiacScene", "draw_scene"]

OUTER_SHARE = 0.2  # how far the outer wall follows the cavity
FAR_M = 0.025  # the surroundings move up to this distance from the outer wall
ANNULUS = 0.8  # the mitral annulus lies at v = .8 b, on the cavity's outline
SHELL_M = 0.003  # wall of the atria and of the right ventricle
LEAFLET_M = 0.9e-3  # half thickness of a leaflet
MODES = 12  # plane waves in the slow variation


@dataclass(frozen=True)
class CardiacScene:
    """One heart: lengths in metres, levels in dB, angles in rad. `draw_scene` draws one from a seed."""

    centre_x_m: float
    centre_z_m: float
    half_width_m: float
    half_length_m: float
    tilt_rad: float
    wall_m: float
    wall_db: float
    blood_db: float
    pericardium_db: float
    pericardium_m: float
    leaflet_db: float
    atrium_half_width_m: float
    atrium_half_length_m: float
    right_gap_m: float
    right_half_width_m: float
    right_db: float
    background_db: float
    variation_db: float
    texture_seed: int
    smallest: float = 0.82

    def __post_init__(self) -> None:
        if not 0.5 <= self.smallest <= 1:
            raise ConfigError(f"smallest must lie in [0.5, 1], got {self.smallest}.")
        if min(self.half_width_m, self.half_length_m, self.wall_m) <= 0:
            raise ConfigError("half_width_m, half_length_m and wall_m must be positive.")

    def contraction(self, phase: float) -> float:
        """Scale s of the cavity's axes: 1 at phase 0, `smallest` at phase .5, periodic."""
        return 1 - (1 - self.smallest) * (1 - math.cos(2 * math.pi * phase)) / 2

    def opening(self, phase: float) -> float:
        """Opening of the mitral valve: 0 while the ventricle contracts, up to 1 while it fills."""
        return math.sqrt(max(0.0, -math.sin(2 * math.pi * phase)))

    def ventricle_axes(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (u, v) in metres along the axes of the left ventricle, from its centre."""
        dx, dz = x - self.centre_x_m, z - self.centre_z_m
        cos, sin = math.cos(self.tilt_rad), math.sin(self.tilt_rad)
        return cos * dx - sin * dz, sin * dx + cos * dz

    def to_current(self, x: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
        """Where material at (x, z) of phase 0 has moved to at `phase`; metres."""
        u, v = self.ventricle_axes(x, z)
        rest, moved = self._knots(u, v, phase)
        return self._rescale(u, v, rest, moved)

    def to_reference(self, x: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
        """Where the material at (x, z) of `phase` lies at phase 0; metres. Inverse of `to_current`."""
        u, v = self.ventricle_axes(x, z)
        rest, moved = self._knots(u, v, phase)
        return self._rescale(u, v, moved, rest)

    def level_db(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Echogenicity in dB of material at (x, z) of phase 0, and whether it is blood; leaflets left out."""
        u, v = self.ventricle_axes(x, z)
        a, b, w = self.half_width_m, self.half_length_m, self.wall_m
        r_in, r_out, _ = self._radii(u, v)
        r = torch.hypot(u, v)
        level = torch.full_like(u, self.background_db)
        blood = torch.zeros_like(u, dtype=torch.bool)

        # Right heart, left of the septum, then the left atrium: each a cavity inside a thin wall. Trabeculae
        # and the edge of the aperture leave the right heart brighter than blood.
        right_u = -(a + w + self.right_gap_m + self.right_half_width_m)
        base = b + 0.5 * self.atrium_half_length_m
        for cu, cv, hu, hv, inside_db in (
            (right_u, 0.15 * b, self.right_half_width_m, 0.72 * b, self.right_db),
            (
                0.85 * right_u,
                base + 0.3 * b,
                1.25 * self.right_half_width_m,
                self.atrium_half_length_m,
                self.right_db,
            ),
            (0.0, base + 0.004, self.atrium_half_width_m, self.atrium_half_length_m, self.blood_db),
        ):
            shell = torch.hypot((u - cu) / (hu + SHELL_M), (v - cv) / (hv + SHELL_M)) < 1
            inside = torch.hypot((u - cu) / hu, (v - cv) / hv) < 1
            level = torch.where(shell, self.wall_db - 3, level)
            level = torch.where(inside, inside_db, level)
            blood = torch.where(shell, inside, blood)

        # The pericardium follows the free wall, not the septum or the base, and is brightest beside the
        # annulus.
        free = (u > 0.25 * a) & (v < b) & (r >= r_out) & (r < r_out + self.pericardium_m) & ~blood
        level = torch.where(free, self.pericardium_db - 4 * torch.clamp(1 - v / b, 0, 2), level)

        # Left ventricle: wall, cavity, and the mitral opening towards the atrium.
        wall = (r >= r_in) & (r < r_out)
        level = torch.where(wall, self.wall_db, level)
        cavity = (r < r_in) | ((v > ANNULUS * b) & (v < b + w) & (u.abs() < 0.6 * a))
        blood = (blood & ~wall) | cavity
        level = torch.where(cavity, self.blood_db, level)
        return torch.where(blood, level, level + self.variation_db * self._variation(u, v)), blood

    def echogenicity_db(self, x: Tensor, z: Tensor, phase: float = 0.0) -> Tensor:
        """Echogenicity in dB at any points (x, z) of `phase`, leaflets included."""
        level, _ = self.level_db(*self.to_reference(x, z, phase))
        return torch.where(self.leaflet_distance_m(x, z, phase) < LEAFLET_M, self.leaflet_db, level)

    def leaflet_distance_m(self, x: Tensor, z: Tensor, phase: float) -> Tensor:
        """Distance in metres from (x, z) to the nearer mitral leaflet at `phase`."""
        u, v = self.ventricle_axes(x, z)
        s, angle = self.contraction(phase), math.radians(20 + 55 * self.opening(phase))
        hinge_u, hinge_v = s * 0.6 * self.half_width_m, s * ANNULUS * self.half_length_m
        length = s * 0.6 * self.half_width_m / math.cos(math.radians(20))
        along_u, along_v = -math.cos(angle), -math.sin(angle)
        du, dv = u.abs() - hinge_u, v - hinge_v
        on = torch.clamp(du * along_u + dv * along_v, 0.0, length)
        return torch.hypot(du - on * along_u, dv - on * along_v)

    def masks(self, x: Tensor, z: Tensor, phase: float = 0.0) -> dict[str, Tensor]:
        """Boolean masks at points (x, z) of `phase`.

        Returns:
            "ventricle": the inner 85 % of the cavity's axes, above the mitral valve and 3 mm clear of it;
            "myocardium": the inner wall, from a tenth to seven tenths of its thickness, away from the mitral
            opening.
        """
        clear = self.leaflet_distance_m(x, z, phase) > 3e-3
        u, v = self.ventricle_axes(*self.to_reference(x, z, phase))
        r_in, r_out, _ = self._radii(u, v)
        r = torch.hypot(u, v)
        depth = (r - r_in) / (r_out - r_in)
        return {
            "ventricle": (r < 0.85 * r_in) & (v < 0.65 * self.half_length_m) & clear,
            "myocardium": (depth > 0.1) & (depth < 0.7) & (v < 0.65 * self.half_length_m),
        }

    def parameters(self) -> dict[str, float]:
        """The numbers that define this scene, as plain JSON values."""
        return asdict(self)

    def _radii(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inner, outer and far radius (m) in the direction of each point."""
        r = torch.hypot(u, v).clamp(min=1e-9)
        a, b, w = self.half_width_m, self.half_length_m, self.wall_m
        r_in = r / torch.hypot(u / a, v / b).clamp(min=1e-9)
        r_out = r / torch.hypot(u / (a + w), v / (b + w)).clamp(min=1e-9)
        return r_in, r_out, r_out + FAR_M

    def _knots(self, u: Tensor, v: Tensor, phase: float) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        r_in, r_out, r_far = self._radii(u, v)
        s = self.contraction(phase)
        return (r_in, r_out, r_far), (s * r_in, (1 - OUTER_SHARE * (1 - s)) * r_out, r_far)

    def _rescale(
        self, u: Tensor, v: Tensor, knots: tuple[Tensor, ...], images: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        """Move points along their direction by the piecewise linear map knots -> images; back to (x, z)."""
        r = torch.hypot(u, v).clamp(min=1e-9)
        (k1, k2, k3), (m1, m2, m3) = knots, images
        new = torch.where(r < k1, r * m1 / k1, m1 + (r - k1) * (m2 - m1) / (k2 - k1))
        new = torch.where(r < k2, new, m2 + (r - k2) * (m3 - m2) / (k3 - k2))
        scale = torch.where(r < k3, new, r) / r
        u, v = u * scale, v * scale
        cos, sin = math.cos(self.tilt_rad), math.sin(self.tilt_rad)
        return self.centre_x_m + cos * u + sin * v, self.centre_z_m - sin * u + cos * v

    def _variation(self, u: Tensor, v: Tensor) -> Tensor:
        """Slow random field of unit variance: plane waves 15 to 60 mm long."""
        gen = stream(self.texture_seed, "texture")
        total = torch.zeros_like(u)
        for _ in range(MODES):
            number = 2 * math.pi / between(0.015, 0.06, gen)
            direction, shift = between(0, 2 * math.pi, gen), between(0, 2 * math.pi, gen)
            wave = number * math.cos(direction) * u + number * math.sin(direction) * v + shift
            total = total + torch.cos(wave)
        return total * math.sqrt(2 / MODES)


def draw_scene(seed: int) -> CardiacScene:
    """Draw a heart: same seed, same heart. Ranges follow adult apical views at 120 mm depth."""
    gen = stream(seed, "scene")

    def draw(low: float, high: float) -> float:
        return between(low, high, gen)

    return CardiacScene(
        centre_x_m=draw(0.003, 0.010),
        centre_z_m=draw(0.058, 0.068),
        half_width_m=draw(0.017, 0.023),
        half_length_m=draw(0.030, 0.038),
        tilt_rad=draw(-0.12, 0.20),
        wall_m=draw(0.008, 0.012),
        wall_db=draw(-6, 2),
        blood_db=draw(-60, -45),
        pericardium_db=draw(2, 10),
        pericardium_m=draw(0.0015, 0.003),
        leaflet_db=draw(-4, 3),
        atrium_half_width_m=draw(0.014, 0.019),
        atrium_half_length_m=draw(0.012, 0.018),
        right_gap_m=draw(0.0, 0.002),
        right_half_width_m=draw(0.007, 0.011),
        right_db=draw(-36, -26),
        background_db=draw(-22, -12),
        variation_db=draw(1.0, 2.5),
        texture_seed=int(draw(0, 2**31)),
    )
