"""DICOM: pixels and calibration come back, identity never enters a record and never leaves unasked."""

import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from core.errors import ConfigError, DataError, MissingExtra
from domains.ultrasound.formats.describe import describe
from domains.ultrasound.formats.dicom import read_dicom, write_dicom
from domains.ultrasound.formats.dispatch import read, write
from tests.domains.ultrasound.formats.samples import lines, picture

NAME = "Doe^Jane"


def scanner_file(path: Path, **tags: object) -> Path:
    """A multi-frame ultrasound file with identity, made from our own capture."""
    write_dicom(picture(), path)
    data = pydicom.dcmread(path)
    data.PatientName, data.PatientID, data.PatientBirthDate = NAME, "ID-4711-X", "19700101"
    data.InstitutionName, data.StudyDate, data.Manufacturer = "Clinic of X", "20200202", "Acme"
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)
    return path


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("n_frames", [1, 3])
@pytest.mark.parametrize("shape", [(24, 32), (5, 7)])
def test_levels_and_pixel_size_come_back_exactly(colour: bool, n_frames: int, shape, tmp_path: Path) -> None:
    record = picture(colour=colour, n_frames=n_frames, shape=shape)
    assert write_dicom(record, tmp_path / "a.dcm") == []
    back = read_dicom(tmp_path / "a.dcm")
    np.testing.assert_array_equal(back.values, record.values)
    assert back.geometry.pixel_m == pytest.approx((1.5e-4, 2e-4))
    # Times are decimal strings of 8 digits in ms.
    if n_frames > 1:
        np.testing.assert_allclose(back.timestamps_s, record.timestamps_s, rtol=1e-7)


def test_decibels_round_to_half_a_level(tmp_path: Path) -> None:
    values = -np.linspace(0, 60, 24 * 32, dtype=np.float32).reshape(1, 24, 32)
    write_dicom(picture(n_frames=1).with_values(values), tmp_path / "a.dcm")
    back = read_dicom(tmp_path / "a.dcm").values / 255 * 60 - 60
    assert np.max(np.abs(back - values)) <= 60 / 510 + 1e-5


def test_an_output_says_what_was_done_and_that_it_is_not_for_diagnosis(tmp_path: Path) -> None:
    write_dicom(picture(), tmp_path / "a.dcm", derivation="Dehazed, gamma 0.4.")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert data.DerivationDescription == "Dehazed, gamma 0.4. Not for diagnosis."
    assert list(data.ImageType) == ["DERIVED", "SECONDARY"]
    assert data.SOPClassUID.name == "Multi-frame Grayscale Byte Secondary Capture Image Storage"


def test_identity_never_enters_a_record_or_a_log(tmp_path: Path, caplog, capsys) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    with caplog.at_level(logging.DEBUG):
        record = read(path)
        warnings = write(record, tmp_path / "b.dcm", source=path)
    seen = repr(record) + repr(describe(record)) + repr(warnings) + caplog.text + "".join(capsys.readouterr())
    for secret in ("Doe", "Jane", "ID-4711-X", "19700101", "Clinic", "20200202"):
        assert secret not in seen
    assert "patient identity" in record.meta["warnings"][0]
    assert record.meta["Manufacturer"] == "Acme"


def test_identity_that_breaks_the_rules_of_dicom_is_not_logged(tmp_path: Path, caplog, recwarn) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    study = pydicom.dcmread(path).StudyInstanceUID.encode()
    # A letter in a UID breaks its rule, which pydicom by itself logs together with the value.
    path.write_bytes(path.read_bytes().replace(study, study[:-4] + b"Doe7"))
    with caplog.at_level(logging.DEBUG):
        write(read(path), tmp_path / "b.dcm", source=path)
    assert "Doe7" not in caplog.text + "".join(str(item.message) for item in recwarn)
    assert b"Doe7" in (tmp_path / "b.dcm").read_bytes()


def test_identity_is_copied_with_a_warning_kept_silently_or_stripped(tmp_path: Path) -> None:
    source = scanner_file(tmp_path / "a.dcm")
    record = read_dicom(source)
    warnings = write_dicom(record, tmp_path / "copy.dcm", source=source)
    assert len(warnings) == 1
    assert "identity tags of the source were copied; strip them with --strip-phi" in warnings[0]
    copy = pydicom.dcmread(tmp_path / "copy.dcm")
    origin = pydicom.dcmread(source)
    assert copy.PatientName == NAME
    assert copy.StudyInstanceUID == origin.StudyInstanceUID
    assert copy.SOPInstanceUID != origin.SOPInstanceUID
    assert copy.SeriesInstanceUID != origin.SeriesInstanceUID
    assert write_dicom(record, tmp_path / "keep.dcm", source=source, keep_phi=True) == []
    assert pydicom.dcmread(tmp_path / "keep.dcm").PatientName == NAME
    write_dicom(record, tmp_path / "strip.dcm", source=source, strip_phi=True)
    body = (tmp_path / "strip.dcm").read_bytes()
    for secret in (
        b"Doe",
        b"ID-4711-X",
        b"19700101",
        b"Clinic",
        b"20200202",
        origin.StudyInstanceUID.encode(),
    ):
        assert secret not in body
    assert pydicom.dcmread(tmp_path / "strip.dcm").PatientIdentityRemoved == "YES"
    with pytest.raises(ConfigError, match="exclude one another"):
        write_dicom(record, tmp_path / "no.dcm", strip_phi=True, keep_phi=True)


def test_stripping_warns_of_text_in_the_picture_unless_the_source_denies_it(tmp_path: Path) -> None:
    clean = scanner_file(tmp_path / "a.dcm", BurnedInAnnotation="NO")
    assert write_dicom(picture(), tmp_path / "o.dcm", source=clean, strip_phi=True) == []
    burned = scanner_file(tmp_path / "b.dcm", BurnedInAnnotation="YES")
    warning = write_dicom(picture(), tmp_path / "o.dcm", source=burned, strip_phi=True)
    assert "burned into the pixels is not removed" in warning[0]
    assert pydicom.dcmread(tmp_path / "o.dcm").BurnedInAnnotation == "YES"


def test_ybr_becomes_the_colours_it_stands_for(tmp_path: Path) -> None:
    from pydicom.pixels import convert_color_space

    record = picture(colour=True, n_frames=2)
    write_dicom(record, tmp_path / "a.dcm")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.PixelData = convert_color_space(record.values, "RGB", "YBR_FULL").tobytes()
    data.PhotometricInterpretation = "YBR_FULL"
    data.save_as(tmp_path / "y.dcm")
    back = read_dicom(tmp_path / "y.dcm").values.astype(int)
    # Two roundings of a colour matrix whose largest row sum is 2.8.
    assert np.max(np.abs(back - record.values)) <= 3


def test_monochrome1_is_inverted_and_12_bits_are_shifted(tmp_path: Path) -> None:
    path = scanner_file(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_dicom(path).values, 255 - picture().values)
    data = pydicom.dcmread(path)
    deep = picture().values.astype(np.uint16) * 16 + 5
    data.PhotometricInterpretation, data.PixelData = "MONOCHROME2", deep.tobytes()
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data["PixelData"].VR = "OW"
    data.save_as(path)
    record = read_dicom(path)
    np.testing.assert_array_equal(record.values, picture().values)
    assert "12-bit levels are shifted down to 8 bits." in record.meta["warnings"]


def test_compressed_frames_are_read(tmp_path: Path) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.compress(RLELossless, encoding_plugin="pydicom")
    data.save_as(path)
    np.testing.assert_array_equal(read_dicom(path).values, picture().values)


def test_an_absent_codec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([b"\0" * 64] * 3)
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.save_as(path)
    from pydicom.pixels.decoders import JPEG2000LosslessDecoder

    monkeypatch.setattr(JPEG2000LosslessDecoder, "_available", {})
    with pytest.raises(MissingExtra, match=r"no codec for JPEG 2000 .*is installed") as caught:
        read_dicom(path)
    assert "pylibjpeg" in str(caught.value.hint)


def test_regions_give_millimetres_and_their_limits(tmp_path: Path) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    second = pydicom.Dataset()
    second.update(data.SequenceOfUltrasoundRegions[0])
    second.PhysicalDeltaX = 0.5
    doppler = pydicom.Dataset()
    doppler.RegionSpatialFormat, doppler.PhysicalUnitsXDirection, doppler.PhysicalUnitsYDirection = 3, 4, 7
    data.SequenceOfUltrasoundRegions = [doppler, data.SequenceOfUltrasoundRegions[0], second]
    data.save_as(path)
    record = read_dicom(path)
    assert record.geometry.pixel_m == pytest.approx((1.5e-4, 2e-4))
    assert record.meta["regions"] == [[0, 23, 0, 31]] * 2
    assert "2 regions have different pixel sizes; the first is used." in record.meta["warnings"]


@pytest.mark.parametrize("keep", [100, 2000])
def test_a_truncated_file_is_named(keep: int, tmp_path: Path) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    assert path.stat().st_size > 2200
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.dcm"):
        read_dicom(path)


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    path = scanner_file(tmp_path / "a.dcm")
    data = pydicom.dcmread(path)
    del data.PixelData
    data.save_as(path)
    with pytest.raises(DataError, match="found no pixel data"):
        read_dicom(path)
    assert data.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_lines_are_not_written_as_a_picture(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stores pictures; the record holds beamformed_data"):
        write(lines(), tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []
