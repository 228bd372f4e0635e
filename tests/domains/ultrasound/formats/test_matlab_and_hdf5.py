"""MATLAB, PICMUS, pybf and UFF files give channel data and geometry in our axis order."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.signal import hilbert

from core.errors import DataError, MissingExtra
from domains.ultrasound.formats.mat import read_mat
from domains.ultrasound.formats.picmus import read_picmus
from domains.ultrasound.formats.pybf import read_pybf
from domains.ultrasound.formats.uff import read_uff

PARAM = {
    "fs": 20e6,
    "fc": 5e6,
    "c": 1540,
    "t0": 1e-6,
    "PRF": 4000,
    "pitch": 3e-4,
    "kerf": 5e-5,
    "bandwidth": 60,
}


def test_a_must_file_with_one_transmit_counts_frames(tmp_path: Path) -> None:
    echoes = np.random.default_rng(0).integers(-9, 9, (6, 4, 3)).astype(np.int16)
    scipy.io.savemat(tmp_path / "a.mat", {"RF": echoes, "param": {**PARAM, "TXdelay": np.zeros((1, 4))}})
    record = read_mat(tmp_path / "a.mat")
    assert record.values.dtype == np.int16
    np.testing.assert_array_equal(record.values, echoes.transpose(2, 0, 1)[:, None])
    g = record.geometry
    assert (g.probe, g.fs_hz, g.f0_hz, g.fd_hz, g.sound_speed_m_s) == ("linear", 20e6, 5e6, 0.0, 1540.0)
    assert (g.t0_s, g.prf_hz, g.bandwidth) == (1e-6, 4000.0, 0.6)
    assert g.element_width_m == pytest.approx(2.5e-4)
    np.testing.assert_allclose(g.elements_m[:, 0], np.array([-1.5, -0.5, 0.5, 1.5]) * 3e-4)
    np.testing.assert_array_equal(g.tx_angles_rad, [0.0])
    np.testing.assert_allclose(record.timestamps_s, np.arange(3) / 4000)


def test_a_must_file_with_a_delay_per_transmit_is_one_frame(tmp_path: Path) -> None:
    echoes = (np.ones((6, 4, 3)) * (1 + 2j)).astype(np.complex64)
    delays = np.arange(12.0).reshape(3, 4) * 1e-7
    scipy.io.savemat(tmp_path / "a.mat", {"IQ": echoes, "param": {**PARAM, "TXdelay": delays}})
    record = read_mat(tmp_path / "a.mat")
    assert record.values.shape == (1, 3, 6, 4)
    assert record.domain == "iq"
    assert record.geometry.fd_hz == 5e6
    assert record.geometry.tx_angles_rad is None
    np.testing.assert_array_equal(record.geometry.tx_delays_s, delays)


def test_a_convex_probe_has_its_elements_on_an_arc(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"RF": np.ones((6, 5, 2)), "param": {**PARAM, "radius": 0.06}})
    elements = read_mat(tmp_path / "a.mat").geometry.elements_m
    apex = np.array([0, 0, elements[0, 2] - 0.06 * np.cos(2 * 2 * np.arcsin(3e-4 / 0.12))])
    np.testing.assert_allclose(np.linalg.norm(elements - apex, axis=1), 0.06)
    np.testing.assert_allclose(np.linalg.norm(np.diff(elements, axis=0), axis=1), 3e-4)
    assert elements[0, 2] == 0.0
    assert elements[2, 2] > 0


def test_swapped_axes_are_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"RF": np.ones((4, 60, 3)), "param": {**PARAM, "Nelements": 4}})
    with pytest.raises(
        DataError,
        match=r"wrong axis order .*\(sample, element, transmit\) with 4 elements, read shape \(4, 60, 3\)",
    ):
        read_mat(tmp_path / "a.mat")


def test_version_7_3_is_read_in_matlab_order(tmp_path: Path) -> None:
    echoes = np.random.default_rng(0).integers(-9, 9, (6, 4, 3)).astype(np.int16)
    path = tmp_path / "b.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["RF"] = echoes.T
        for name, value in PARAM.items():
            file[f"param/{name}"] = np.array([[value]], dtype=np.float64)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file")
    record = read_mat(path)
    np.testing.assert_array_equal(record.values, echoes.transpose(2, 0, 1)[:, None])
    assert record.geometry.sound_speed_m_s == 1540.0
    kind = np.dtype([("real", "f8"), ("imag", "f8")])
    values = np.zeros((3, 5, 7), dtype=kind)
    values["imag"] = np.arange(105).reshape(3, 5, 7)
    with h5py.File(path, "w") as file:
        file["iq"] = values
    back = read_mat(path)
    assert back.kind == "beamformed_data"
    np.testing.assert_array_equal(back.values.imag, values["imag"].transpose(0, 2, 1))


def test_a_mat_file_with_several_arrays_asks_which(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"one": np.ones((6, 5, 2)), "two": -np.ones((6, 5))})
    with pytest.raises(DataError, match=r"expected one array .* found one, two"):
        read_mat(tmp_path / "a.mat")
    record = read_mat(tmp_path / "a.mat", variable="two")
    assert record.values.shape == (1, 6, 5)
    assert record.kind == "image"


def test_a_truncated_mat_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"RF": np.random.default_rng(0).random((60, 50, 2)), "param": PARAM})
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"a.mat cannot be read as a MATLAB file"):
        read_mat(path)


def test_the_must_disk_has_the_published_geometry(real_data) -> None:
    record = read_mat(real_data("ultrasound/must_disk/PWI_disk.mat"))
    assert record.values.shape == (32, 1, 334, 128)
    assert record.values.dtype == np.int16
    g = record.geometry
    assert g.fs_hz == pytest.approx(6.6667e6, rel=1e-4)
    assert (g.f0_hz, g.sound_speed_m_s, g.t0_s, g.prf_hz, g.bandwidth) == (5e6, 1480.0, 9.95e-6, 1e4, 0.15)
    assert g.element_width_m == 2.62e-4
    np.testing.assert_allclose(np.diff(g.elements_m[:, 0]), 2.98e-4)
    picture = read_mat(real_data("ultrasound/must_disk/bmode_PWI_disk.mat"))
    assert picture.kind == "image"
    assert picture.values.shape == (32, 251, 251)


def picmus(path: Path, *, imag: float, elements: int = 4) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_group("US/US_DATASET0000")
        data["data/real"] = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)
        data["data/imag"] = np.full((2, 4, 6), imag, dtype=np.float32)
        data["angles"] = np.array([-0.1, 0.1], dtype=np.float32)
        data["probe_geometry"] = np.zeros((3, elements), dtype=np.float32)
        for name, value in {
            "sampling_frequency": 2e7,
            "modulation_frequency": 5e6,
            "initial_time": 1e-6,
        }.items():
            data[name] = np.array([value])
        data["sound_speed"], data["PRF"] = np.array([1540.0]), np.array([100.0])
    return path


def test_picmus_is_read_as_iq_or_rf(tmp_path: Path) -> None:
    record = read_picmus(picmus(tmp_path / "p.hdf5", imag=1.0))
    assert record.values.shape == (1, 2, 6, 4)
    assert record.values[0, 1, 2, 3] == 24 + 3 * 6 + 2 + 1j
    assert record.geometry.fd_hz == record.geometry.f0_hz == 5e6
    assert record.geometry.elements_m.shape == (4, 3)
    rf = read_picmus(picmus(tmp_path / "q.hdf5", imag=0.0))
    assert rf.values.dtype == np.float32
    assert rf.geometry.fd_hz == 0.0
    with pytest.raises(DataError, match=r"expected \(tx, element, sample\) with 2 angles and 5 elements"):
        read_picmus(picmus(tmp_path / "r.hdf5", imag=0.0, elements=5))


def test_pybf_focuses_on_known_scatterers_with_its_time_and_angles(real_data) -> None:
    record = read_pybf(real_data("ultrasound/pybf_fieldii/rf_dataset.hdf5"))
    assert record.values.shape == (1, 3, 2313, 192)
    g = record.geometry
    assert (g.fs_hz, g.t0_s, g.bandwidth) == (20e6, pytest.approx(-3.6625e-6), pytest.approx(0.752, abs=1e-3))
    np.testing.assert_allclose(g.tx_angles_rad, [-0.20944, 0, 0.20944], atol=1e-5)
    points = record.truth["scatterers_m"]
    assert points.shape == (2748, 3)
    beside = points[(np.abs(points[:, 0]) > 4e-3) & (np.abs(points[:, 0]) < 16e-3)][::8]
    x = g.elements_m[:, 0]

    def focus(tx: int, *, sign: int, late_s: float) -> float:
        analytic = hilbert(record.values[0, tx].astype(float), axis=0)
        angle = sign * g.tx_angles_rad[tx]
        path = (
            beside[:, 2:] * np.cos(angle)
            + beside[:, :1] * np.sin(angle)
            + np.hypot(beside[:, 2:], beside[:, :1] - x)
        )
        index = np.rint((path / 1540 - g.t0_s - late_s) * g.fs_hz).astype(int).clip(0, 2312)
        near = np.abs(beside[:, :1] - x) < beside[:, 2:] / 2
        return float(np.median(np.abs((analytic[index, np.arange(192)] * near).sum(1) / near.sum(1))))

    for tx in (0, 2):
        right = focus(tx, sign=1, late_s=0.0)
        assert right > 3 * focus(tx, sign=-1, late_s=0.0)
        assert right > 3 * focus(tx, sign=1, late_s=1.5e-6)
        assert right > 3 * focus(tx, sign=1, late_s=-1.5e-6)


def test_uff_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyuff_ustb", None)
    with pytest.raises(MissingExtra, match="pyuff_ustb") as caught:
        read_uff(tmp_path / "a.uff")
    assert caught.value.hint == "Install it with: pip install pyuff_ustb"


def test_uff_channel_data_and_lines_are_read(tmp_path: Path) -> None:
    pyuff = pytest.importorskip("pyuff_ustb")
    path = str(tmp_path / "a.uff")
    values = np.random.default_rng(0).random((6, 4, 2, 3)).astype(np.float32)
    origin = pyuff.Point(distance=0.0, azimuth=0.0, elevation=0.0)
    waves = [
        pyuff.Wave(
            wavefront=pyuff.Wavefront.plane,
            source=pyuff.Point(distance=np.inf, azimuth=angle, elevation=0.0),
            origin=origin,
            apodization=None,
            delay=0.0,
        )
        for angle in (-0.1, 0.1)
    ]
    probe = pyuff.LinearArray(N=4, pitch=3e-4, element_width=2e-4, element_height=5e-3, origin=origin)
    data = pyuff.ChannelData(
        sampling_frequency=2e7,
        initial_time=1e-6,
        sound_speed=1540.0,
        modulation_frequency=0.0,
        sequence=waves,
        probe=probe,
        data=values,
    )
    data.write(path, "channel_data", ignore_missing_compulsory_fields=True)
    record = read_uff(Path(path))
    np.testing.assert_array_equal(record.values, values.transpose(3, 2, 0, 1))
    np.testing.assert_allclose(record.geometry.tx_angles_rad, [-0.1, 0.1])
    np.testing.assert_allclose(record.geometry.elements_m[:, 0], np.array([-1.5, -0.5, 0.5, 1.5]) * 3e-4)
    assert record.geometry.t0_s == 1e-6
    scan = pyuff.LinearScan(x_axis=np.linspace(-1e-2, 1e-2, 5), z_axis=np.linspace(0, 3e-2, 7))
    pixels = (np.arange(35) * (1 + 0.5j)).reshape(1, 1, 1, 35)
    pyuff.BeamformedData(scan=scan, data=pixels).write(str(tmp_path / "b.uff"), "b_data")
    lines = read_uff(tmp_path / "b.uff")
    assert lines.values.shape == (1, 7, 5)
    # Depth runs fastest: pixel 1 is the second sample of the first line.
    assert lines.values[0, 1, 0] == 1 + 0.5j
    assert lines.geometry.r1_m == 3e-2
