"""MetaImage files: axes follow the orientation letters, I and Q are paired, damage is found early."""

import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from core.errors import DataError
from domains.ultrasound.data import check_finite
from domains.ultrasound.formats.metaimage import read_metaimage

TYPES = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "float32": "MET_FLOAT"}


def save(
    path: Path, array: np.ndarray, *, channels: int = 1, compress: bool = False, **fields: object
) -> Path:
    """Write `array` (frame, y, x[, channel]) as MetaImage; `fields` override header lines, None drops one."""
    body = array.tobytes()
    sizes = array.shape[:3][::-1]
    header: dict[str, object] = {
        "ObjectType": "Image",
        "NDims": len(sizes),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": array.dtype.byteorder == ">",
        "CompressedData": compress,
    }
    if compress:
        body = zlib.compress(body)
        header["CompressedDataSize"] = len(body)
    header |= {
        "DimSize": " ".join(map(str, sizes)),
        "Kinds": "domain domain list",
        "ElementNumberOfChannels": channels,
        "ElementSpacing": "1 1 1",
        "ElementType": TYPES[array.dtype.newbyteorder("=").name],
        "UltrasoundImageOrientation": "MF",
        "UltrasoundImageType": "BRIGHTNESS",
    }
    header |= fields
    header["ElementDataFile"] = header.pop("ElementDataFile", "LOCAL")
    lines = [f"{key} = {value}\n" for key, value in header.items() if value is not None]
    path.write_bytes("".join(lines).encode() + body)
    return path


def test_brightness_pictures_are_rows_and_columns(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    record = read_metaimage(save(tmp_path / "a.mha", array))
    assert record.kind == "image"
    assert record.meta["layout"] == "picture"
    np.testing.assert_array_equal(record.values, array)


@pytest.mark.parametrize(
    ("letters", "rows", "cols", "swap"),
    [
        ("MF", 1, 1, False),
        ("MFA", 1, 1, False),
        ("UF", 1, -1, False),
        ("MN", -1, 1, False),
        ("UND", -1, -1, False),
        ("FM", 1, 1, True),
        ("FU", 1, -1, True),
        ("NM", -1, 1, True),
        ("NU", -1, -1, True),
    ],
)
def test_letters_decide_transposition_and_flips(
    letters: str, rows: int, cols: int, swap: bool, tmp_path: Path
) -> None:
    near_to_far = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    stored = near_to_far[:, ::rows, ::cols]
    stored = np.ascontiguousarray(stored.swapaxes(1, 2) if swap else stored)
    record = read_metaimage(save(tmp_path / "a.mha", stored, UltrasoundImageOrientation=letters))
    np.testing.assert_array_equal(record.values, near_to_far)
    assert record.meta["layout"] == ("lines" if swap else "picture")
    assert record.meta["orientation"] == letters


def test_i_and_q_alternate_in_a_line(tmp_path: Path) -> None:
    stored = np.array([[[1, 10, 2, 20, 3, 30], [4, 40, 5, 50, 6, 60]]], dtype=np.int16)
    path = save(tmp_path / "a.mha", stored, UltrasoundImageType="RF_IQ_LINE", UltrasoundImageOrientation="FM")
    expected = np.array([[[1 + 10j, 4 + 40j], [2 + 20j, 5 + 50j], [3 + 30j, 6 + 60j]]], dtype=np.complex64)
    record = read_metaimage(path)
    assert record.domain == "iq"
    np.testing.assert_array_equal(record.values, expected)


def test_i_lines_and_q_lines_alternate_and_start_at_the_far_end(tmp_path: Path) -> None:
    stored = np.array([[[3, 2, 1], [30, 20, 10], [6, 5, 4], [60, 50, 40]]], dtype=np.int16)
    path = save(
        tmp_path / "a.mha", stored, UltrasoundImageType="RF_I_LINE_Q_LINE", UltrasoundImageOrientation="NM"
    )
    expected = np.array([[[1 + 10j, 4 + 40j], [2 + 20j, 5 + 50j], [3 + 30j, 6 + 60j]]], dtype=np.complex64)
    np.testing.assert_array_equal(read_metaimage(path).values, expected)


def test_real_rf_keeps_its_sign_and_counts_clipping_before_conversion(tmp_path: Path) -> None:
    stored = np.zeros((1, 10, 100), dtype=np.int16)
    stored[0, :, :] = np.arange(-50, 50)
    stored[0, 0, :2] = [32767, -32768]
    path = save(tmp_path / "a.mha", stored, UltrasoundImageType="RF_REAL", UltrasoundImageOrientation="FM")
    record = read_metaimage(path)
    assert record.values.dtype == np.float32
    assert record.domain == "rf"
    assert record.meta["clipped_share"] == 2 / 1000
    assert "0.20 % of the samples sit at the integer limit" in check_finite(record)[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [False, True])
def test_byte_order_and_compression_do_not_matter(order: str, compress: bool, tmp_path: Path) -> None:
    array = np.arange(-12, 12, dtype=f"{order}i2").reshape(2, 3, 4)
    fields = {"UltrasoundImageType": "RF_REAL", "UltrasoundImageOrientation": "FM"}
    record = read_metaimage(save(tmp_path / "a.mha", array, compress=compress, **fields))
    np.testing.assert_array_equal(record.values, array.swapaxes(1, 2))


def test_times_transforms_and_status_are_kept(tmp_path: Path) -> None:
    matrix = " ".join(map(str, range(16)))
    fields = {
        "Seq_Frame0000_Timestamp": 1.5,
        "Seq_Frame0001_Timestamp": 1.75,
        "Seq_Frame0000_ImageStatus": "OK",
        "Seq_Frame0001_ImageStatus": "INVALID",
        "Seq_Frame0001_ProbeToTrackerTransform": matrix,
        "ElementSpacing": "0.2 0.1 1",
    }
    record = read_metaimage(save(tmp_path / "a.mha", np.ones((2, 3, 4), np.uint8), **fields))
    np.testing.assert_array_equal(record.timestamps_s, [1.5, 1.75])
    assert record.meta["transforms"] == {"ProbeToTrackerTransform": [None, [float(i) for i in range(16)]]}
    assert record.meta["warnings"] == ["1 of 2 frames are marked invalid by their source (first: frame 1)."]
    # Spacing is given in mm as (x, y); pixel_m is (row, col).
    assert record.geometry.pixel_m == pytest.approx((1e-4, 2e-4))


def test_colour_and_separate_bodies_are_read(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (1, 3, 4, 3), dtype=np.uint8)
    colour = save(tmp_path / "c.mha", array, channels=3, UltrasoundImageType="RGB_COLOR")
    np.testing.assert_array_equal(read_metaimage(colour).values, array)
    header = save(tmp_path / "h.mhd", array[..., 0], ElementDataFile="h.raw")
    whole = header.read_bytes()
    cut = whole.index(b"h.raw\n") + 6
    (tmp_path / "h.raw").write_bytes(whole[cut:])
    header.write_bytes(whole[:cut])
    np.testing.assert_array_equal(read_metaimage(header).values, array[..., 0])
    (tmp_path / "h.raw").unlink()
    with pytest.raises(DataError, match=r"its body h\.raw is missing"):
        read_metaimage(header)


@pytest.mark.parametrize("compress", [False, True])
def test_a_truncated_body_is_refused_before_memory_is_taken(compress: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "t.mha", np.ones((2, 30, 40), np.uint8), compress=compress)
    text = path.read_bytes().replace(b"DimSize = 40 30 2", b"DimSize = 40000 30000 2")
    path.write_bytes(text)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"t.mha is truncated: expected \d+ bytes"):
        read_metaimage(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_body_that_was_cut_is_refused(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (2, 30, 40), dtype=np.uint8)
    path = save(tmp_path / "t.mha", array, compress=True)
    body = path.read_bytes()
    path.write_bytes(body[:-100])
    with pytest.raises(DataError, match="is truncated"):
        read_metaimage(path)
    # The compressed stream is whole but holds less than DimSize says.
    path.write_bytes(body.replace(b"DimSize = 40 30 2", b"DimSize = 40 30 3"))
    with pytest.raises(DataError, match="holds 2400 bytes of samples, expected 3600"):
        read_metaimage(path)


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((1, 4, 5), ("RF_IQ_LINE", "FM"), "even number of samples per line, read 5"),
        ((1, 5, 4), ("RF_I_LINE_Q_LINE", "FM"), "even number of lines, read 5"),
        ((1, 4, 6), ("RF_IQ_LINE", "MF"), "wrong axis order .* fastest axis .* read 'MF' with DimSize 6 4 1"),
        ((1, 4, 6), ("BRIGHTNESS", "MU"), "one of M, U and one of F, N, found 'MU'"),
        ((1, 4, 6), ("DOPPLER", "MF"), "to be one of .* found 'DOPPLER'"),
        ((1, 4, 6), {"ElementType": "MET_LONG"}, "ElementType to be one of .* found 'MET_LONG'"),
        ((1, 4, 6), {"DimSize": "6 4"}, "DimSize to hold 3 positive sizes, found '6 4'"),
        ((1, 4, 6), {"DimSize": "6 -4 1"}, "DimSize to hold 3 positive sizes"),
        ((1, 4, 6), {"ElementDataFile": "../secret"}, "body in the same folder"),
        ((1, 4, 6), {"ElementDataFile": "LIST"}, "several files"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(shape, fields, message: str, tmp_path: Path) -> None:
    if isinstance(fields, tuple):
        fields = {"UltrasoundImageType": fields[0], "UltrasoundImageOrientation": fields[1]}
    array = np.ones(shape, np.int16 if "RF" in str(fields) else np.uint8)
    path = save(tmp_path / "a.mha", array, **fields)
    with pytest.raises(DataError, match=message):
        read_metaimage(path)


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_text("ObjectType = Image\nNDims = 3\n")
    with pytest.raises(DataError, match=r"found the end of the file after 2 lines"):
        read_metaimage(path)


def test_bk_lines_have_the_published_size_and_do_not_warn_of_clipping(real_data) -> None:
    record = read_metaimage(real_data("ultrasound/plus_bk/BkCurvilinearRfData.igs.mhd"))
    assert record.values.shape == (1, 1740, 358)
    assert record.domain == "iq"
    # 28 of 1245840 samples at -32768 or 32767; the data README counts 31 with |x| >= 32767: .0025 %.
    assert record.meta["clipped_share"] == pytest.approx(2.5e-5, abs=0.3e-5)
    assert check_finite(record) == []


def correlation(
    lines: np.ndarray,
    picture: np.ndarray,
    *,
    centre: tuple[float, float],
    radii: tuple[float, float],
    half_angle: float,
) -> float:
    """Correlation of polar lines with a Cartesian picture on every fourth pixel; black outside the sector."""
    rows, cols = np.mgrid[0 : picture.shape[0] : 4, 0 : picture.shape[1] : 4]
    r = np.hypot(rows - centre[0], cols - centre[1])
    angle = np.arctan2(cols - centre[1], rows - centre[0])
    inside = (r > radii[0]) & (r < radii[1]) & (np.abs(angle) < half_angle)
    sample = (r[inside] - radii[0]) / (radii[1] - radii[0]) * (lines.shape[0] - 1)
    line = (angle[inside] + half_angle) / (2 * half_angle) * (lines.shape[1] - 1)
    values = np.full(rows.shape, float(lines.min()))
    values[inside] = map_coordinates(lines, [sample, line], order=1)
    return float(np.corrcoef(values.ravel(), picture[::4, ::4].ravel())[0, 1])


def test_bk_lines_and_picture_show_the_same_side_up(real_data) -> None:
    lines = read_metaimage(real_data("ultrasound/plus_bk/BkCurvilinearRfData.igs.mhd")).values[0]
    picture = read_metaimage(real_data("ultrasound/plus_bk/BkCurvilinearScanConvertedData.igs.mha")).values[0]
    assert picture.shape == (400, 600)
    level = 20 * np.log10(np.abs(lines) + 1)
    level = np.clip(level - level.max(), -70, 0)
    fit = {"centre": (-14, 299.5), "radii": (67, 400), "half_angle": np.deg2rad(70.3)}
    # Measured .974; .829 mirrored and .719 upside down.
    assert correlation(level, picture, **fit) > 0.96
    assert correlation(level[:, ::-1], picture, **fit) < 0.9
    assert correlation(level[::-1], picture, **fit) < 0.9


def test_ultrasonix_lines_and_picture_show_the_same_side_up(real_data) -> None:
    folder = real_data("ultrasound/plus_ultrasonix")
    lines = read_metaimage(folder / "UltrasonixCurvilinearBrightnessData.igs.mha")
    picture = read_metaimage(folder / "UltrasonixCurvilinearScanConvertedData.igs.mha")
    assert lines.values.shape == (5, 3640, 96)
    assert picture.values.shape == (5, 616, 820)
    np.testing.assert_allclose(lines.timestamps_s, [98.0, 98.01, 98.02, 99.03, 99.04])
    # Arc centre 10 mm above pixel (410, 87), 0.15 mm per pixel, radii 10 to 82 mm.
    fit = {"centre": (87 - 10 / 0.15, 410), "radii": (10 / 0.15, 82 / 0.15), "half_angle": np.deg2rad(75)}
    smooth = lines.values[0].astype(np.float64)
    # Measured .983; .694 mirrored.
    assert correlation(smooth, picture.values[0], **fit) > 0.97
    assert correlation(smooth[:, ::-1], picture.values[0], **fit) < 0.75


def test_ultrasonix_rf_starts_near_the_probe_after_the_flip_and_warns_of_clipping(real_data) -> None:
    path = real_data("ultrasound/plus_ultrasonix/UltrasonixLinearRfData.igs.mha")
    record = read_metaimage(path)
    assert record.values.shape == (1, 2080, 128)
    # The reverberation of the transmit burst is strongest at the probe.
    profile = np.abs(record.values[0]).mean(axis=1)
    assert profile[:100].mean() > 10 * profile[-100:].mean()
    assert record.meta["clipped_share"] == pytest.approx(0.0022, abs=5e-5)
    assert check_finite(record) == ["0.22 % of the samples sit at the integer limit: the recording clipped."]


def test_the_bone_sequence_is_unpacked_with_its_tracking(real_data) -> None:
    record = read_metaimage(real_data("ultrasound/plus_bone/BoneUltrasound_L14.igs.mha"))
    assert record.values.shape == (21, 616, 820)
    assert record.timestamps_s is not None
    assert record.timestamps_s[0] == 232.542071
    assert np.all(np.diff(record.timestamps_s) > 0)
    assert len(record.meta["transforms"]["ProbeToTrackerTransform"]) == 21
    assert record.geometry.pixel_m is None
    assert check_finite(record) == []
