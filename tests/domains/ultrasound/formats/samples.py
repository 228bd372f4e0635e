"""Small records of every kind, with everything that a file has to carry."""

import numpy as np

from domains.ultrasound.data import Geometry, Record

LINES = Geometry(
    probe="curvilinear",
    r0_m=0.0113,
    r1_m=0.0871,
    apex_m=0.01,
    angles_rad=np.linspace(-0.5, 0.5, 5),
    fs_hz=13.6e6 / 3,
    f0_hz=3.4e6,
    fd_hz=3.4e6,
    bandwidth=0.61,
    sound_speed_m_s=1540.0,
    t0_s=1e-6 / 3,
)
ARRAY = Geometry(
    probe="linear",
    fs_hz=20e6,
    f0_hz=5e6,
    fd_hz=0.0,
    sound_speed_m_s=1540.0,
    t0_s=1.1e-6,
    elements_m=np.stack([np.linspace(-1e-3, 1e-3, 4), np.zeros(4), np.zeros(4)], axis=1),
    element_width_m=2.5e-4,
    tx_angles_rad=np.array([-0.2, 0.0, 0.2]),
)


def lines(*, complex_values: bool = True, n_frames: int = 2) -> Record:
    """Simulated lines (frame, 7, 5) with truth, masks and times."""
    gen = np.random.default_rng(0)
    shape = (n_frames, 7, 5)

    def draw() -> np.ndarray:
        real = gen.standard_normal(shape, dtype=np.float32)
        return real + 1j * gen.standard_normal(shape, dtype=np.float32) if complex_values else real

    return Record(
        "beamformed_data",
        draw(),
        LINES,
        timestamps_s=np.arange(n_frames) / 30.0 + 0.1,
        truth={"tissue": draw(), "haze": draw(), "ventricle": gen.random(shape) > 0.5},
        meta={"seed": 3, "haze_level": 0.1, "probe_name": "P4", "nested": {"list": [1, 2.5, None]}},
    )


def channels(*, dtype: str = "int16") -> Record:
    """Channel data (1, 3, 9, 4)."""
    values = np.random.default_rng(1).integers(-500, 500, (1, 3, 9, 4)).astype(dtype)
    return Record("raw_data", values, ARRAY)


def picture(*, colour: bool = False, n_frames: int = 3, shape: tuple[int, int] = (24, 32)) -> Record:
    """8-bit image with a pixel size; rows and columns differ, so that a transposed reading is seen."""
    size = (n_frames, *shape, 3) if colour else (n_frames, *shape)
    values = np.random.default_rng(2).integers(0, 256, size, dtype=np.uint8)
    times = np.arange(n_frames) * 0.04 if n_frames > 1 else None
    return Record("image", values, Geometry(pixel_m=(1.5e-4, 2e-4)), timestamps_s=times)


def same(a: Record, b: Record) -> None:
    """Assert that two records agree in every bit, apart from warnings and the format tag."""
    assert a.kind == b.kind
    assert a.values.dtype == b.values.dtype
    np.testing.assert_array_equal(a.values, b.values)
    for name in vars(a.geometry):
        np.testing.assert_equal(getattr(b.geometry, name), getattr(a.geometry, name), err_msg=name)
    np.testing.assert_equal(a.timestamps_s, b.timestamps_s)
    assert set(a.truth) == set(b.truth)
    for name, values in a.truth.items():
        assert values.dtype == b.truth[name].dtype
        np.testing.assert_array_equal(values, b.truth[name])
    drop = {"warnings", "format"}
    assert {k: v for k, v in a.meta.items() if k not in drop} == {
        k: v for k, v in b.meta.items() if k not in drop
    }
