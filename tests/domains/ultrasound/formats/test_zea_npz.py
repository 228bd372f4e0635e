"""zea and NumPy files carry a record through unchanged, and refuse what is cut off or ordered otherwise."""

import json
import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from core.errors import DataError, MissingExtra
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.npz import read_npz, write_npz
from domains.ultrasound.formats.zea import read_zea, write_zea
from tests.domains.ultrasound.formats.samples import ARRAY, channels, lines, picture, same

PAIRS = {"hdf5": (write_zea, read_zea), "npz": (write_npz, read_npz)}
RECORDS = {
    "iq lines": lines(),
    "rf lines": lines(complex_values=False),
    "int16 channels": channels(),
    "float channels": channels(dtype="float32"),
    "iq channels": channels(dtype="complex64"),
    "levels": picture(),
    "one frame": picture(n_frames=1),
    "colour": picture(colour=True),
    "decibels": picture().with_values(-np.abs(picture().values.astype(np.float32)) / 4),
    "envelope": Record("envelope_data", np.abs(lines().values)),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("suffix", PAIRS)
def test_a_record_comes_back_exactly(suffix: str, name: str, tmp_path: Path) -> None:
    write_one, read_one = PAIRS[suffix]
    path = tmp_path / f"r.{suffix}"
    assert write_one(RECORDS[name], path) == []
    same(RECORDS[name], read_one(path))


finite = st.floats(-1e6, 1e6, width=32)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4))


@settings(
    max_examples=25, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    values=shapes.flatmap(
        lambda shape: st.one_of(
            nst.arrays(np.float32, shape, elements=finite),
            nst.arrays(np.complex64, shape, elements=st.complex_numbers(max_magnitude=1e6, width=64)),
        )
    ),
    angles=st.lists(st.floats(-1.5, 1.5), max_size=4),
    apex=st.one_of(st.none(), st.floats(0, 0.1)),
    tag=st.one_of(st.text(max_size=8), st.integers(-5, 5), st.booleans()),
)
@pytest.mark.parametrize("suffix", PAIRS)
def test_any_lines_come_back_exactly(suffix, values, angles, apex, tag, tmp_path: Path) -> None:
    geometry = Geometry(angles_rad=np.array(angles), apex_m=apex)
    record = Record("beamformed_data", values, geometry, meta={"tag": tag})
    write_one, read_one = PAIRS[suffix]
    path = tmp_path / f"r.{suffix}"
    write_one(record, path)
    same(record, read_one(path))


def test_zea_rounds_double_precision_to_float32_as_documented(tmp_path: Path) -> None:
    record = lines().with_values(lines().values.astype(np.complex128) * np.pi)
    write_zea(record, tmp_path / "r.hdf5")
    back = read_zea(tmp_path / "r.hdf5").values
    assert back.dtype == np.complex64
    # float32 keeps 24 bits: relative rounding of each part is at most 2^-24.
    assert np.max(np.abs(back.real - record.values.real) / np.abs(record.values.real)) <= 2**-24
    write_npz(record, tmp_path / "r.npz")
    np.testing.assert_array_equal(read_npz(tmp_path / "r.npz").values, record.values)


def test_the_zea_layout_is_where_zea_looks(tmp_path: Path) -> None:
    write_zea(lines(), tmp_path / "l.hdf5")
    with h5py.File(tmp_path / "l.hdf5") as file:
        data = file["data/beamformed_data"]
        assert data["values"].shape == (2, 7, 5, 2)
        assert [label.decode() for label in data["labels"]] == ["I", "Q"]
        assert data["coordinates"].shape == (7, 5, 3)
        # Middle line, last sample: straight down from the probe surface by r1 - apex.
        np.testing.assert_allclose(data["coordinates"][-1, 2], [0, 0, 0.0871 - 0.01], atol=1e-8)
    write_zea(channels(), tmp_path / "c.hdf5")
    with h5py.File(tmp_path / "c.hdf5") as file:
        assert file["data/raw_data"].shape == (1, 3, 9, 4, 1)
        assert file["probe/probe_geometry"].shape == (4, 3)
        # At +0.2 rad the first element fires first, 1 mm sin(0.2) / c before the wave passes the centre.
        lead = 1e-3 * np.sin(0.2) / 1540
        np.testing.assert_allclose(
            file["scan/t0_delays"][2], np.arange(4) * 2 / 3 * lead, rtol=1e-5, atol=1e-12
        )
        np.testing.assert_allclose(file["scan/initial_times"][2], 1.1e-6 + lead, rtol=1e-6)


def foreign(path: Path, *, values: np.ndarray, labels: list[str] | None = None, **scan: object) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("tracks/track_0/data/beamformed_data")
        group.create_dataset("values", data=values, **hdf5plugin.Blosc())
        if labels:
            group["labels"] = labels
        x, z = np.meshgrid(np.linspace(-0.01, 0.01, 4), np.linspace(0.002, 0.03, 6))
        group["coordinates"] = np.stack([x, 0 * x, z], axis=-1).astype(np.float32)
        for name, value in scan.items():
            file[f"tracks/track_0/scan/{name}"] = value
        file["probe/type"] = "linear"
        file["metadata/subject/id"] = "s01"
    return path


def test_a_foreign_zea_file_gives_geometry(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((1, 6, 4, 2), dtype=np.float32)
    path = foreign(
        tmp_path / "f.hdf5",
        values=values,
        labels=["I", "Q"],
        sampling_frequency=4e6,
        center_frequency=3e6,
        focus_distances=np.array([np.inf, np.inf]),
        polar_angles=np.array([-0.1, 0.1]),
        initial_times=np.array([1e-6, 2e-6]),
    )
    record = read_zea(path)
    np.testing.assert_array_equal(record.values, values[..., 0] + 1j * values[..., 1])
    g = record.geometry
    assert (g.probe, g.fs_hz, g.f0_hz, g.t0_s) == ("linear", 4e6, 3e6, 1e-6)
    np.testing.assert_allclose(g.lateral_m, np.linspace(-0.01, 0.01, 4), atol=1e-9)
    np.testing.assert_allclose([g.r0_m, g.r1_m], [0.002, 0.03], atol=1e-8)
    np.testing.assert_allclose(g.tx_angles_rad, [-0.1, 0.1])
    assert record.meta["subject_id"] == "s01"
    assert any("initial_times differs" in warning for warning in record.meta["warnings"])


def test_blosc_without_its_plugin_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = foreign(tmp_path / "f.hdf5", values=np.ones((1, 6, 4, 1), np.float32))
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(MissingExtra, match="'hdf5plugin' is not installed"):
        read_zea(path)


def test_a_file_with_raw_and_image_reads_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "two.hdf5"
    write_zea(channels(), path)
    with h5py.File(path, "a") as file:
        del file["custom"]
        file["data/image/values"] = np.zeros((1, 5, 6), np.uint8)
    first = read_zea(path)
    assert first.kind == "raw_data"
    assert any("also holds image" in warning for warning in first.meta["warnings"])
    assert read_zea(path, product="image").kind == "image"
    with pytest.raises(DataError, match="expected envelope_data"):
        read_zea(path, product="envelope_data")


def test_complex_data_on_one_channel_is_refused(tmp_path: Path) -> None:
    path = foreign(tmp_path / "f.hdf5", values=np.ones((1, 6, 4, 1), np.float32), labels=["I", "Q"])
    with pytest.raises(
        DataError, match=r"needs 2 channels .*\(frame, sample, line, channel\), read shape \(1, 6, 4, 1\)"
    ):
        read_zea(path)
    write_npz(lines(), tmp_path / "a.npz")
    arrays = dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", **{**arrays, "data": arrays["data"][..., :1]})
    with pytest.raises(DataError, match="needs 2 channels"):
        read_npz(tmp_path / "b.npz")


def test_channels_in_front_are_refused_with_the_expected_order(tmp_path: Path) -> None:
    path = foreign(tmp_path / "f.hdf5", values=np.ones((2, 1, 6, 4), np.float32))
    with pytest.raises(
        DataError, match=r"must have axes \(frame, sample, line, channel\).*read shape \(2, 1, 6, 4\)"
    ):
        read_zea(path)


@pytest.mark.parametrize("suffix", PAIRS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_truncated_file_is_named(suffix: str, share: float, tmp_path: Path) -> None:
    write_one, read_one = PAIRS[suffix]
    path = tmp_path / f"r.{suffix}"
    write_one(lines(), path)
    body = path.read_bytes()
    path.write_bytes(body[: int(share * len(body))])
    with pytest.raises(DataError, match=f"r.{suffix} cannot be read as"):
        read_one(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="allow_pickle"):
        read_npz(tmp_path / "p.npz")


def test_an_archive_without_label_is_guessed_with_a_warning(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=lines().values)
    np.save(tmp_path / "b.npy", -picture().values.astype(np.float32))
    assert read_npz(tmp_path / "a.npz").kind == "beamformed_data"
    record = read_npz(tmp_path / "b.npy")
    assert record.kind == "image"
    assert "taken as image" in record.meta["warnings"][0]
    np.savez(tmp_path / "c.npz", other=np.ones(3))
    with pytest.raises(DataError, match="expected an array named 'data', found other"):
        read_npz(tmp_path / "c.npz")


def test_labels_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=lines().values, meta=np.array(json.dumps({"kind": "sound"})))
    with pytest.raises(DataError, match=r"expected \"kind\" to be one of raw_data.*got 'sound'"):
        read_npz(tmp_path / "a.npz")


def test_raw_data_that_zea_cannot_open_says_what_is_missing(tmp_path: Path) -> None:
    bare = Record("raw_data", channels().values, Geometry(fs_hz=20e6, elements_m=ARRAY.elements_m))
    assert write_zea(bare, tmp_path / "r.hdf5") == [
        "zea itself cannot open this raw data: f0_hz, t0_s, tx_angles_rad, sound_speed_m_s unknown."
    ]
    same(bare, read_zea(tmp_path / "r.hdf5"))


@pytest.mark.slow  # importing zea takes 10 to 15 s
def test_zea_reads_what_we_write_and_we_read_what_zea_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    zea = pytest.importorskip("zea")
    write_zea(channels(), tmp_path / "c.hdf5")
    write_zea(lines(), tmp_path / "l.hdf5")
    with zea.File(tmp_path / "c.hdf5") as file:
        np.testing.assert_array_equal(file.load_data("raw_data")[..., 0], channels().values)
        assert file.scan.sampling_frequency == 20e6
        spec = file.validate_spec()
    with zea.File(tmp_path / "l.hdf5") as file:
        np.testing.assert_array_equal(file.data.beamformed_data.values[..., 0], lines().values.real)
        whole = file.validate_spec()
    spec.save(str(tmp_path / "c2.hdf5"))
    whole.save(str(tmp_path / "l2.hdf5"))
    same(channels(), read_zea(tmp_path / "c2.hdf5"))
    back = read_zea(tmp_path / "l2.hdf5")
    np.testing.assert_array_equal(back.values, lines().values)
    np.testing.assert_equal(back.geometry.angles_rad, lines().geometry.angles_rad)
