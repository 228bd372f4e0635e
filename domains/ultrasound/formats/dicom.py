"""DICOM ultrasound: single and multi-frame pictures in, secondary captures out.

Reading keeps the pixels, the calibration of ultrasound regions and technical tags. Tags that identify a
person, a visit or a place never enter a record; they pass from a source file to an output only through
`write_dicom(..., source=...)`.
"""

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ConfigError, DataError, MissingExtra
from core.extras import require
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.formats.axes import reading
from domains.ultrasound.formats.levels import merge_grey, picture_levels
from domains.ultrasound.formats.tags import with_warnings

__all__ = ["IDENTITY", "read_dicom", "write_dicom"]

Array = np.ndarray[Any, np.dtype[Any]]

# Tags of the patient, study and equipment modules that name a person, a visit or a place.
IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "OtherPatientNames",
    "PatientBirthDate", "PatientBirthTime", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "EthnicGroup", "Occupation",
    "AdditionalPatientHistory", "MedicalRecordLocator", "StudyInstanceUID", "StudyID", "StudyDate",
    "StudyTime", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "PhysiciansOfRecord",
    "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician", "OperatorsName",
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName",
    "DeviceSerialNumber", "FrameOfReferenceUID",
)  # fmt: skip
TECHNICAL = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "PhotometricInterpretation",
    "TransducerType",
)
CENTIMETRES = 3
GREY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"
COLOUR_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"
NOT_FOR_DIAGNOSIS = "Not for diagnosis."


def read_dicom(path: Path) -> Record:
    """Read an image (frame, row, col[, 3]), uint8; equal colour channels become grey.

    MONOCHROME1 is inverted, YBR and palettes become RGB, more than 8 bits are shifted down to 8. The first
    two-dimensional region calibrated in cm, else PixelSpacing, gives `geometry.pixel_m`. `meta`: technical
    tags and "regions" as [row0, row1, col0, col1].

    Raises:
        DataError: not DICOM, truncated, or without pixels.
        MissingExtra: the pixels are compressed with a codec that is not installed.
    """
    pydicom = require("pydicom", extra="ultrasound")
    # The validation of pydicom logs the text of tags that break a rule, names and dates of birth among them.
    with pydicom.config.disable_value_validation(), reading(path, "a DICOM file", quote=False):
        try:
            return _record(_parse(pydicom, path), path)
        except pydicom.errors.BytesLengthException:
            raise ValueError("tag of impossible length") from None


def _parse(pydicom: Any, path: Path, **options: bool) -> Any:
    try:
        return pydicom.dcmread(path, **options)
    except pydicom.errors.InvalidDicomError as err:
        raise DataError(
            f"{path} cannot be read as a DICOM file: no DICOM header.",
            hint="The file is damaged or of another type; copy it again from its source.",
        ) from err


def _record(tags: Any, path: Path) -> Record:
    if "PixelData" not in tags:
        raise DataError(f"{path}: expected a DICOM picture, found no pixel data.")
    values = _pixels(tags, path)
    warnings: list[str] = []
    photometric = str(tags.get("PhotometricInterpretation", ""))
    bits = int(tags.get("BitsStored", 8))
    if values.dtype != np.uint8:
        if bits > 8:
            warnings.append(f"{bits}-bit levels are shifted down to 8 bits.")
        shifted = values.astype(np.int64) - (
            int(values.min()) if values.dtype.kind == "i" and values.min() < 0 else 0
        )
        values = np.clip(shifted >> max(bits - 8, 0), 0, 255).astype(np.uint8)
    if photometric == "MONOCHROME1":
        values = 255 - values
    frames = int(tags.get("NumberOfFrames", 1) or 1)
    values = values if frames > 1 else values[None] if values.ndim in (2, 3) else values
    values = merge_grey(values) if values.ndim == 4 else values
    meta: dict[str, Any] = {"layout": "picture"}
    meta.update({name: str(tags.get(name)) for name in TECHNICAL if tags.get(name)})
    pixel_m = _calibration(tags, meta, warnings)
    times = _times(tags, len(values))
    if any(tags.get(name) for name in IDENTITY[:6]):
        warnings.append("the file carries patient identity; it is not kept in the record.")
    return Record("image", values, Geometry(pixel_m=pixel_m), times, meta=with_warnings(meta, warnings))


def write_dicom(
    record: Record,
    path: Path,
    *,
    derivation: str = "Processed by Suffuse.",
    source: Path | None = None,
    strip_phi: bool = False,
    keep_phi: bool = False,
    dynamic_range_db: float | None = None,
) -> list[str]:
    """Write an image as a multi-frame secondary capture, 8 bits, uncompressed.

    Args:
        derivation: what was done; "Not for diagnosis." is added. Goes to DerivationDescription.
        source: DICOM file the record came from; its identity tags are copied.
        strip_phi: copy no identity tag; the patient is called "ANONYMOUS".
        keep_phi: copying is intended, so do not warn.

    Returns:
        Warnings: identity tags copied (their number, never their content), or text burned into the pixels.

    Raises:
        ConfigError: the record is not an image, or both `strip_phi` and `keep_phi` are on.
    """
    pydicom = require("pydicom", extra="ultrasound")
    if strip_phi and keep_phi:
        raise ConfigError("strip_phi and keep_phi exclude one another.", hint="Pass one of them.")
    levels = np.ascontiguousarray(picture_levels(record, dynamic_range_db=dynamic_range_db))
    tags = _capture(pydicom, levels, f"{derivation} {NOT_FOR_DIAGNOSIS}")
    _write_calibration(pydicom, tags, record)
    warnings: list[str] = []
    tags.PatientName, tags.PatientID = ("ANONYMOUS", "ANONYMOUS") if strip_phi else ("", "")
    tags.PatientBirthDate = tags.PatientSex = tags.StudyDate = tags.StudyTime = tags.StudyID = ""
    tags.AccessionNumber = tags.ReferringPhysicianName = ""
    tags.PatientIdentityRemoved = "YES" if strip_phi else "NO"
    if strip_phi:
        tags.DeidentificationMethod = "Suffuse: identity tags not copied"
    with pydicom.config.disable_value_validation():
        if source is not None:
            with reading(source, "a DICOM file", quote=False):
                warnings += _copy_identity(pydicom, tags, source, strip_phi=strip_phi, keep_phi=keep_phi)
        tags.save_as(path, enforce_file_format=True)
    return warnings


def _pixels(tags: Any, path: Path) -> Array:
    pixels = require("pydicom.pixels", extra="ultrasound")
    try:
        values = pixels.pixel_array(tags)
        if str(tags.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
            values = pixels.apply_color_lut(values, tags)
            values = (values >> 8).astype(np.uint8) if values.dtype != np.uint8 else values
    except NotImplementedError as err:
        raise DataError(f"{path}: expected a known transfer syntax, found one that does not exist.") from err
    except RuntimeError as err:
        syntax = tags.file_meta.TransferSyntaxUID
        raise MissingExtra(
            f"{path}: no codec for {syntax.name} is installed.",
            hint="Install one with: pip install 'pylibjpeg[all]'",
        ) from err
    except (ValueError, AttributeError, KeyError) as err:
        raise DataError(
            f"{path}: its pixel data are truncated or do not match its header.",
            hint="Copy the file again from its source.",
        ) from err
    return np.asarray(values)


def _calibration(tags: Any, meta: dict[str, Any], warnings: list[str]) -> tuple[float, float] | None:
    """Pixel size (row, col) in m of the first calibrated two-dimensional region."""
    found: list[tuple[float, float]] = []
    regions: list[list[int]] = []
    for region in tags.get("SequenceOfUltrasoundRegions", []):
        units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
        if region.get("RegionSpatialFormat", 1) != 1 or units != (CENTIMETRES, CENTIMETRES):
            continue
        if not region.get("PhysicalDeltaX") or not region.get("PhysicalDeltaY"):
            continue
        found.append((abs(float(region.PhysicalDeltaY)) * 1e-2, abs(float(region.PhysicalDeltaX)) * 1e-2))
        corners = ("RegionLocationMinY0", "RegionLocationMaxY1", "RegionLocationMinX0", "RegionLocationMaxX1")
        if all(name in region for name in corners):
            row0, row1, col0, col1 = (int(region.get(name)) for name in corners)
            regions.append([row0, row1, col0, col1])
    if regions:
        meta["regions"] = regions
    if len(set(found)) > 1:
        warnings.append(f"{len(found)} regions have different pixel sizes; the first is used.")
    if found and min(found[0]) > 0:
        return found[0]
    spacing = tags.get("PixelSpacing") or tags.get("NominalScannedPixelSpacing")
    return (float(spacing[0]) * 1e-3, float(spacing[1]) * 1e-3) if spacing else None


def _times(tags: Any, n_frames: int) -> Array | None:
    if n_frames < 2:
        return None
    steps = tags.get("FrameTimeVector")
    if steps is not None and len(steps) == n_frames:
        return np.cumsum([float(step) for step in steps]) * 1e-3
    if tags.get("FrameTime"):
        return np.arange(n_frames) * float(tags.FrameTime) * 1e-3
    return None


def _capture(pydicom: Any, levels: Array, derivation: str) -> Any:
    """A secondary capture with everything but identity."""
    uid = pydicom.uid
    colour = levels.ndim == 4
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = COLOUR_CAPTURE if colour else GREY_CAPTURE
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    tags = pydicom.dataset.Dataset()
    tags.file_meta = meta
    tags.SOPClassUID, tags.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    tags.StudyInstanceUID, tags.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    tags.Modality, tags.ConversionType, tags.ImageType = "US", "WSD", ["DERIVED", "SECONDARY"]
    tags.SeriesNumber, tags.InstanceNumber = 1, 1
    tags.Manufacturer = "Suffuse"
    tags.DerivationDescription = derivation
    tags.ContentDate = datetime.date.today().strftime("%Y%m%d")
    tags.BurnedInAnnotation = "NO"
    tags.PresentationLUTShape = "IDENTITY"
    tags.NumberOfFrames, tags.Rows, tags.Columns = levels.shape[:3]
    tags.SamplesPerPixel = 3 if colour else 1
    tags.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        tags.PlanarConfiguration = 0
    tags.BitsAllocated = tags.BitsStored = 8
    tags.HighBit, tags.PixelRepresentation = 7, 0
    body = levels.tobytes()
    tags.PixelData = body + b"\0" * (len(body) % 2)
    tags["PixelData"].VR = "OB"
    return tags


def _write_calibration(pydicom: Any, tags: Any, record: Record) -> None:
    if record.geometry.pixel_m is not None:
        dy, dx = record.geometry.pixel_m
        region = pydicom.dataset.Dataset()
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
        region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = tags.Columns - 1, tags.Rows - 1
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = CENTIMETRES
        region.PhysicalDeltaX, region.PhysicalDeltaY = dx * 1e2, dy * 1e2
        tags.SequenceOfUltrasoundRegions = [region]
        tags.NominalScannedPixelSpacing = [f"{dy * 1e3:.8g}", f"{dx * 1e3:.8g}"]
    times = record.timestamps_s
    pointer = pydicom.tag.Tag
    if times is not None and len(times) > 1:
        steps = np.concatenate([[0.0], np.diff(times)]) * 1e3
        tags.FrameTimeVector = [f"{step:.8g}" for step in steps]
        tags.FrameIncrementPointer = pointer("FrameTimeVector")
    elif tags.NumberOfFrames > 1:
        tags.FrameTime = "40"
        tags.FrameIncrementPointer = pointer("FrameTime")


def _copy_identity(pydicom: Any, tags: Any, source: Path, *, strip_phi: bool, keep_phi: bool) -> list[str]:
    origin = _parse(pydicom, source, stop_before_pixels=True)
    warnings = []
    burned = str(origin.get("BurnedInAnnotation", "")).upper()
    tags.BurnedInAnnotation = "NO" if burned == "NO" else "YES"
    if strip_phi:
        if burned != "NO":
            warnings.append("text burned into the pixels is not removed; look for names in the picture.")
        return warnings
    copied = [name for name in IDENTITY if origin.get(name)]
    for name in copied:
        tags[name] = origin[name]
    if copied and not keep_phi:
        warnings.append(
            f"{len(copied)} identity tags of the source were copied; strip them with --strip-phi."
        )
    return warnings
