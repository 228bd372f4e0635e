"""`read` and `write` find the format, refuse what cannot be used, and leave no half-written file."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest

from core.atomic import replacing
from core.errors import ConfigError, DataError
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats import KNOWN, describe, read, write
from tests.domains.ultrasound.formats.samples import channels, lines, picture, same


@pytest.mark.parametrize("name", ["a.hdf5", "a.h5", "a.npz"])
def test_an_exact_format_round_trips_through_dispatch(name: str, tmp_path: Path) -> None:
    assert write(lines(), tmp_path / name) == []
    record = read(tmp_path / name)
    same(lines(), record)
    assert record.meta["warnings"] == []
    assert record.meta["format"] == ("npz" if name == "a.npz" else "zea")


def test_content_wins_over_the_extension(tmp_path: Path) -> None:
    for made, as_name in (("a.npz", "a.png"), ("a.hdf5", "a.npz"), ("a.dcm", "a.xyz"), ("a.nii", "a.dat")):
        write(picture(n_frames=1), tmp_path / made)
        (tmp_path / made).rename(tmp_path / as_name)
        np.testing.assert_array_equal(read(tmp_path / as_name).values, picture(n_frames=1).values)
        (tmp_path / as_name).unlink()


def test_every_known_format_is_named_once_and_every_suffix_belongs_to_one() -> None:
    suffixes = [suffix for item in KNOWN.values() for suffix in item.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(name == item.name for name, item in KNOWN.items())
    assert {name for name, item in KNOWN.items() if item.write} == {
        "zea",
        "npz",
        "dicom",
        "nifti",
        "video",
        "picture",
    }


def spoilt(value: float) -> Record:
    values = lines(n_frames=3).values.copy()
    values[1] = value
    return lines(n_frames=3).with_values(values)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "frame 1 of beamformed_data holds 35 NaN or Inf values"),
        (np.inf, "frame 1 of beamformed_data holds 35 NaN or Inf values"),
        (0.0, "frame 1 of beamformed_data is all zero"),
        (2.5, r"frame 1 of beamformed_data is constant \(\(2.5\+0j\)\)"),
    ],
)
def test_a_frame_without_a_picture_is_refused_by_index(value: float, message: str, tmp_path: Path) -> None:
    write(spoilt(value), tmp_path / "a.npz")
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "a.npz")
    assert caught.value.exit_code == 3
    assert len(read(tmp_path / "a.npz", check=False).values) == 3


def test_dead_lines_and_clipping_are_warnings(tmp_path: Path) -> None:
    values = lines().values.copy()
    values[:, :, 2] = 0
    write(lines().with_values(values), tmp_path / "a.hdf5")
    assert read(tmp_path / "a.hdf5").meta["warnings"] == ["1 of 5 lines are all zero (first: line 2)."]
    clipped = channels().values.copy()
    clipped[0, 0, 0, 0] = 32767
    write(channels().with_values(clipped), tmp_path / "b.hdf5")
    # 1 of 108 samples.
    assert "0.93 % of the samples sit at the integer limit" in read(tmp_path / "b.hdf5").meta["warnings"][0]


def test_the_clipped_share_of_the_source_survives_conversion(tmp_path: Path) -> None:
    record = lines().with_values(lines().values, meta={"clipped_share": 0.0022})
    write(record, tmp_path / "a.npz")
    assert "0.22 %" in read(tmp_path / "a.npz").meta["warnings"][0]


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("a.xyz", b"hello", r"a\.xyz: unknown file type '\.xyz'; expected one of \.hdf5, \.h5, \.npz"),
        ("a.hdf5", b"hello", r"a\.hdf5 cannot be read as an HDF5 file"),
        ("a.mha", b"hello", r"a\.mha: expected a MetaImage header"),
        ("a.dcm", b"hello", r"a\.dcm cannot be read as a DICOM file: no DICOM header"),
        ("a.mp4", b"hello", r"a\.mp4 cannot be read as a film"),
        ("a.mat", b"hello" * 50, r"a\.mat cannot be read as a MATLAB file"),
        ("a.nii", b"hello", r"a\.nii cannot be read as a NIfTI image"),
        ("a.uff", b"", r"a\.uff is empty"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(
    name: str, body: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # about the damage that the test made
@pytest.mark.parametrize("suffix", ["npz", "dcm", "nii", "png"])
def test_flipped_bytes_give_a_record_or_a_clear_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    write(picture(n_frames=1), path)
    body = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    gen = np.random.default_rng(0)
    for _ in range(30):
        spoilt_body = body.copy()
        spoilt_body[gen.integers(0, min(len(body), 600), 4)] = gen.integers(0, 256, 4)
        path.write_bytes(spoilt_body.tobytes())
        with contextlib.suppress(DataError):
            assert read(path, check=False).kind == "image"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "a.npz")


def test_an_existing_output_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"a\.npz exists") as caught:
        write(lines(), path)
    assert caught.value.exit_code == 2
    assert "--overwrite" in str(caught.value.hint)
    assert path.read_bytes() == b"mine"
    write(lines(), path, overwrite=True)
    same(lines(), read(path))
    assert [item.name for item in tmp_path.iterdir()] == ["a.npz"]


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="a PNG holds one frame; the record has 3"):
        write(picture(n_frames=3), path, overwrite=True)
    with pytest.raises(KeyboardInterrupt), replacing(path, overwrite=True) as draft:  # noqa: PT012
        draft.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"mine"
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]


def test_an_output_type_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown output type '\.hdf' \(known: .*\.hdf5") as caught:
        write(lines(), tmp_path / "a.hdf")
    assert caught.value.hint == "Did you mean '.hdf5'?"
    with pytest.raises(ConfigError, match=r"the folder .* does not exist"):
        write(lines(), tmp_path / "no" / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_description_says_what_is_there_and_what_is_missing() -> None:
    about = describe(lines())
    json.dumps(about, allow_nan=False)
    assert about["axes"] == ["frame", "sample", "line"]
    assert (about["domain"], about["unit"], about["frames"]) == ("iq", "arbitrary, linear", 2)
    assert about["missing"] == {"demodulate": [], "scan_convert": []}
    assert about["geometry"]["angles_rad"] == {"shape": [5], "first": -0.5, "last": 0.5}
    assert about["frame_rate_hz"] == pytest.approx(30.0)
    bare = describe(Record("beamformed_data", lines().values.real))
    assert bare["missing"]["demodulate"] == ["fs_hz", "f0_hz"]
    assert bare["missing"]["scan_convert"] == ["probe", "r0_m", "r1_m", "angles_rad or lateral_m"]
    linear = Record("beamformed_data", lines().values, Geometry(probe="linear", r0_m=0.0, r1_m=0.05))
    assert describe(linear)["missing"]["scan_convert"] == ["lateral_m"]
    assert describe(channels())["missing"] == {"beamform": []}
    assert (
        describe(Record("raw_data", channels().values))["missing"]["beamform"][-1]
        == "tx_delays_s or tx_angles_rad"
    )
    assert describe(picture())["missing"] == {"measure_mm": []}


def test_a_description_of_values_with_nan_has_finite_numbers() -> None:
    about = describe(lines().with_values(np.full((1, 3, 2), np.nan, np.float32)))
    json.dumps(about, allow_nan=False)
    assert "range" not in about
