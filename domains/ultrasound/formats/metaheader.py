"""The text header of a MetaImage file: fields, size, element type, and where the body starts.

The body is checked against the size that the header states before anything is allocated, so a truncated or
hostile file costs no memory.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError

__all__ = ["MetaHeader", "read_body", "read_header"]

# MetaImage element type to NumPy type without byte order.
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
LONGEST_LINE = 1 << 20
# zlib cannot compress better than this; a body that claims more is truncated.
BEST_RATIO = 1032


@dataclass(frozen=True)
class MetaHeader:
    """Header of a MetaImage file.

    `sizes`: DimSize, fastest axis first. `dtype`: NumPy type with byte order. `body`: file that holds the
    samples, which start at byte `offset`.
    """

    path: Path
    fields: Mapping[str, str]
    sizes: tuple[int, ...]
    channels: int
    dtype: str
    compressed: bool
    body: Path
    offset: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the uncompressed body."""
        count = self.channels * int(self.dtype[2:])
        for size in self.sizes:
            count *= size
        return count


def read_header(path: Path) -> MetaHeader:
    """Parse the header of a `.mha` or `.mhd` file.

    Raises:
        DataError: not a MetaImage header, an element type or a body layout that is not supported, sizes that
        make no
            sense, or a body outside the header's folder.
    """
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(LONGEST_LINE)
            key, equals, value = line.decode("latin-1").partition("=")
            if not line or not equals or "\0" in key:
                raise DataError(
                    f"{path}: expected a MetaImage header, 'Key = value' lines up to ElementDataFile, "
                    f"found {repr(line[:40]) if line else 'the end of the file'} after {len(fields)} lines.",
                    hint="The file is truncated or not a MetaImage file.",
                )
            fields[key.strip()] = value.strip()
        offset = file.tell()
    sizes = _sizes(path, fields)
    kind = fields.get("ElementType", "")
    if kind not in TYPES:
        raise DataError(f"{path}: expected ElementType to be one of {', '.join(TYPES)}, found '{kind}'.")
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    name = fields["ElementDataFile"]
    body = path
    if name != "LOCAL":
        body, offset = _body_file(path, name), 0
    return MetaHeader(
        path=path,
        fields=fields,
        sizes=sizes,
        channels=_integer(path, fields, "ElementNumberOfChannels", 1),
        dtype=(">" if big else "<") + TYPES[kind],
        compressed=fields.get("CompressedData", "False").lower() == "true",
        body=body,
        offset=offset + max(_integer(path, fields, "HeaderSize", 0), 0),
    )


def read_body(header: MetaHeader) -> bytes:
    """The uncompressed body, exactly as long as the header says.

    Raises:
        DataError: the body is shorter than stated (checked before allocating) or is not valid zlib data.
    """
    found = max(header.body.stat().st_size - header.offset, 0)
    packed = (
        _integer(header.path, header.fields, "CompressedDataSize", found)
        if header.compressed
        else header.n_bytes
    )
    floor = -(-header.n_bytes // BEST_RATIO) if header.compressed else header.n_bytes
    if found < packed or packed < floor:
        raise DataError(
            f"{header.body} is truncated: expected {max(packed, floor)} bytes of samples for DimSize "
            f"{' '.join(map(str, header.sizes))} {header.fields['ElementType']}, found {min(found, packed)}.",
            hint="Copy the file again from its source.",
        )
    with open(header.body, "rb") as file:
        file.seek(header.offset)
        body = file.read(packed)
    if not header.compressed:
        return body
    try:
        samples = zlib.decompressobj().decompress(body, header.n_bytes)
    except zlib.error as err:
        raise DataError(f"{header.body}: expected a zlib body, got damaged data ({err}).") from err
    if len(samples) != header.n_bytes:
        raise DataError(
            f"{header.body} is truncated: its compressed body holds {len(samples)} bytes of samples, "
            f"expected {header.n_bytes}.",
            hint="Copy the file again from its source.",
        )
    return samples


def _sizes(path: Path, fields: Mapping[str, str]) -> tuple[int, ...]:
    text = fields.get("DimSize", "")
    words = text.split()
    dims = _integer(path, fields, "NDims", len(words))
    if not words or len(words) != dims or not all(re.fullmatch(r"[1-9]\d{0,9}", word) for word in words):
        raise DataError(f"{path}: expected DimSize to hold {dims} positive sizes, found '{text}'.")
    return tuple(int(word) for word in words)


def _integer(path: Path, fields: Mapping[str, str], key: str, default: int) -> int:
    text = fields.get(key)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as err:
        raise DataError(f"{path}: expected {key} to be a whole number, found '{text}'.") from err


def _body_file(path: Path, name: str) -> Path:
    if name.split()[0] in ("LIST",) or "%" in name:
        raise DataError(
            f"{path}: the body is spread over several files ({name}), which is not supported.",
            hint="Save the sequence as one .mha file.",
        )
    body = path.parent / name
    if body.resolve().parent != path.parent.resolve():
        raise DataError(f"{path}: expected the body in the same folder as the header, found '{name}'.")
    if not body.is_file():
        raise DataError(f"{path}: its body {body.name} is missing.", hint="Copy both files into one folder.")
    return body
