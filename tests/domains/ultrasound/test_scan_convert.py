"""Scan conversion: exact maps, and the scanner's own pictures of the Ultrasonix and BK recordings (U4)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.errors import DataError, GeometryError
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.scan_convert import (
    Arc,
    Layout,
    Parallel,
    layout_of,
    picture,
    scan_convert,
    sector_mask,
)
from domains.ultrasound.signal import log_compress
from tests.domains.ultrasound.real_files import correlation, overlap, psnr_db, read_bk_iq, read_meta_image

# The apex (410, 87) is the middle of the probe surface; the arc centre lies 10 mm above it.
ULTRASONIX_CENTRE = (87 - 10 / 0.15, 410.0)


def ultrasonix_arc(centre: tuple[float, float] = ULTRASONIX_CENTRE) -> Arc:
    return Arc.symmetric(
        3640,
        96,
        shape=(616, 820),
        centre=centre,
        r0=10,
        r1=82,
        half_angle_rad=math.radians(75),
        pixel=(0.15, 0.15),
    )


def ultrasonix(folder: Path, *, frame: int = 0) -> tuple[Tensor, Tensor]:
    """Brightness lines (sample, line) and Plus's picture of them (row, col), 0 to 255."""
    lines = read_meta_image(folder / "UltrasonixCurvilinearBrightnessData.igs.mha")[frame]
    shown = read_meta_image(folder / "UltrasonixCurvilinearScanConvertedData.igs.mha")[frame]
    return torch.from_numpy(lines).T, torch.from_numpy(shown).float()


@pytest.mark.parametrize("frame", [0, 4])
def test_ultrasonix_lines_become_the_picture_that_plus_made(real_data, frame: int) -> None:
    lines, shown = ultrasonix(real_data("ultrasound/plus_ultrasonix"), frame=frame)
    drawn = scan_convert(lines, ultrasonix_arc())
    # Measured .983 and 27.8 dB; the rest is Plus's own interpolation.
    assert correlation(drawn, shown) >= 0.98
    assert psnr_db(drawn, shown) >= 27.0
    assert overlap(sector_mask(ultrasonix_arc()), shown > 0) >= 0.99


def test_mirrored_lines_do_not_match_the_ultrasonix_picture(real_data) -> None:
    lines, shown = ultrasonix(real_data("ultrasound/plus_ultrasonix"))
    assert correlation(scan_convert(lines.flip(-1), ultrasonix_arc()), shown) < 0.75


def test_an_arc_centred_on_the_probe_surface_does_not_match_the_ultrasonix_picture(real_data) -> None:
    lines, shown = ultrasonix(real_data("ultrasound/plus_ultrasonix"))
    assert correlation(scan_convert(lines, ultrasonix_arc((87.0, 410.0))), shown) < 0.5


def test_bk_iq_lines_become_the_scanner_picture(real_data) -> None:
    folder = real_data("ultrasound/plus_bk")
    shown = torch.from_numpy(read_meta_image(folder / "BkCurvilinearScanConvertedData.igs.mha")).float()[0]
    grey = 255 * (1 + log_compress(read_bk_iq(folder).abs(), dynamic_range_db=70.0)[0] / 70)
    arc = Arc.symmetric(
        1740, 358, shape=(400, 600), centre=(-14.0, 299.5), r0=67, r1=400, half_angle_rad=math.radians(70.3)
    )
    # Measured .973 and .996: the geometry is fitted, the scanner's grey curve is unknown.
    assert correlation(scan_convert(grey, arc), shown) >= 0.96
    assert overlap(sector_mask(arc), shown > 0) >= 0.99
    assert correlation(scan_convert(grey.flip(-1), arc), shown) < 0.9


def test_a_sample_is_drawn_where_trigonometry_puts_it() -> None:
    """r = 50 at 30 degrees to the right of the axis: 25 columns right, 43.3 rows down."""
    angles = torch.deg2rad(torch.tensor([-30.0, 0.0, 30.0], dtype=torch.float64))
    arc = Arc(samples=6, shape=(64, 64), centre=(2.0, 32.0), r0=0.0, r1=50.0, angles_rad=angles)
    row, col = arc.to_picture(torch.tensor(5), torch.tensor(2))
    assert row.item() == pytest.approx(2 + 50 * math.cos(math.pi / 6), abs=1e-9)
    assert col.item() == pytest.approx(32 + 25, abs=1e-9)


LAYOUTS: list[Layout] = [
    ultrasonix_arc(),
    Arc(
        80,
        (64, 64),
        (-5.0, 31.0),
        4.0,
        60.0,
        torch.tensor([0.7, 0.2, -0.1, -0.8], dtype=torch.float64),
        (0.9, 1.1),
    ),
    Parallel(
        80,
        (64, 64),
        (-2.0, 31.5),
        1.0,
        50.0,
        torch.tensor([-20.0, -3.0, 5.0, 19.0], dtype=torch.float64),
        (0.8, 0.7),
    ),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["even arc", "uneven falling arc", "parallel"])
@given(down=st.floats(0, 1), across=st.floats(0, 1))
def test_the_two_maps_are_inverse(layout: Layout, down: float, across: float) -> None:
    sample = torch.tensor(down * (layout.samples - 1), dtype=torch.float64)
    line = torch.tensor(across * (layout.lines - 1), dtype=torch.float64)
    back = layout.to_polar(*layout.to_picture(sample, line))
    # Rounding of the square root and arc tangent, in units of one index of up to 3640.
    assert back[0].item() == pytest.approx(sample.item(), abs=1e-8)
    assert back[1].item() == pytest.approx(line.item(), abs=1e-8)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["even arc", "uneven falling arc", "parallel"])
def test_a_field_that_is_linear_in_the_indices_is_drawn_exactly(layout: Layout) -> None:
    sample = torch.arange(layout.samples, dtype=torch.float64)[:, None]
    line = torch.arange(layout.lines, dtype=torch.float64)[None, :]
    drawn = scan_convert(2 * sample - 7 * line, layout)
    rows, cols = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in layout.shape), indexing="ij")
    under = layout.to_polar(rows, cols)
    mask = sector_mask(layout)
    # Bilinear interpolation reproduces a bilinear field; the mask lets 1e-6 of an index pass at the rim.
    assert torch.allclose(drawn[mask], (2 * under[0] - 7 * under[1])[mask], atol=1e-4)
    assert mask.any()
    assert (drawn[~mask] == 0).all()


def test_frames_are_drawn_one_by_one_and_outside_takes_the_fill(gen: torch.Generator) -> None:
    layout = LAYOUTS[1]
    frames = torch.randn(2, 3, 80, 4, generator=gen)
    drawn = scan_convert(frames, layout, fill=-60.0)
    assert drawn.shape == (2, 3, 64, 64)
    assert torch.equal(drawn[1, 2], scan_convert(frames[1, 2], layout, fill=-60.0))
    assert (drawn[..., ~sector_mask(layout)] == -60).all()


def fan(**changes: object) -> Geometry:
    fields = {"probe": "phased", "r0_m": 0.0, "r1_m": 0.12, "angles_rad": np.linspace(-0.6, 0.6, 9)}
    return Geometry(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_default_layout_just_holds_the_sector() -> None:
    layout = layout_of(fan(), 65)
    rows, cols = layout.shape
    ends = ((0, 4), (64, 4), (64, 0), (64, 8))
    corners = [layout.to_picture(torch.tensor(sample), torch.tensor(line)) for sample, line in ends]
    (top, _), (bottom, _), (_, left), (_, right) = corners
    assert top.item() == pytest.approx(0, abs=1e-9)
    # The last pixel of each axis may stick out by less than one pixel.
    assert rows - 2 < bottom.item() <= rows - 1 + 1e-6
    assert -1e-6 <= left.item() < 1
    assert cols - 2 < right.item() <= cols - 1 + 1e-6


def test_a_linear_probe_keeps_its_proportions() -> None:
    geometry = Geometry(probe="linear", r0_m=0.005, r1_m=0.045, lateral_m=np.linspace(-0.019, 0.019, 77))
    layout = layout_of(geometry, 401, pixel_m=1e-4)
    assert layout.shape == (401, 381)
    lines = torch.arange(401.0)[:, None].expand(401, 77)
    # Row n shows depth r0 + n x 0.1 mm, which is sample n.
    assert torch.allclose(scan_convert(lines, layout)[:, 190], torch.arange(401.0), atol=1e-3)


def test_a_picture_record_has_pixel_size_and_origin() -> None:
    values = np.linspace(0, 1, 2 * 65 * 9, dtype=np.float32).reshape(2, 65, 9)
    out = picture(Record("envelope_data", values, fan()), pixel_m=1e-3)
    assert out.kind == "image"
    assert out.geometry.pixel_m == (1e-3, 1e-3)
    assert out.values.shape == (2, *layout_of(fan(), 65, pixel_m=1e-3).shape)
    assert out.meta["origin_px"][0] == pytest.approx(0.0)
    with pytest.raises(DataError, match="Cartesian already"):
        picture(out)


@pytest.mark.parametrize(
    ("geometry", "names"),
    [
        (Geometry(), "probe, r0_m, r1_m"),
        (fan(angles_rad=None), "angles_rad"),
        (fan(probe="linear"), "lateral_m"),
        (fan(r1_m=None), "r1_m"),
    ],
)
def test_missing_geometry_is_named(geometry: Geometry, names: str) -> None:
    with pytest.raises(GeometryError, match=names) as caught:
        layout_of(geometry, 65)
    assert "--" in (caught.value.hint or "")


def test_iq_wrong_sizes_and_folded_lines_are_refused() -> None:
    layout = LAYOUTS[1]
    with pytest.raises(DataError, match="complex IQ"):
        scan_convert(torch.zeros(80, 4, dtype=torch.complex64), layout)
    with pytest.raises(DataError, match=r"sample 80, line 4"):
        scan_convert(torch.zeros(4, 80), layout)
    with pytest.raises(GeometryError, match="strictly"):
        layout_of(fan(angles_rad=np.array([0.0, 0.2, 0.1])), 65)
    with pytest.raises(GeometryError, match="r0 < r1"):
        layout_of(fan(r0_m=0.2), 65)
