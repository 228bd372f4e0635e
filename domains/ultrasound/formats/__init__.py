"""Readers and writers of ultrasound files.

`read(path)` takes a file of any format in `KNOWN`, or a folder of frames, and returns a `Record`.
`write(record, path)` picks the writer by the extension, refuses an existing output, and leaves either the
whole file or nothing. `describe(record)` says what a record holds and what it lacks. Each format lives in one
file with `read_X(path)` and, where it can be written, `write_X(record, path)`.
"""

from domains.ultrasound.formats.describe import describe
from domains.ultrasound.formats.dispatch import KNOWN, Format, read, write

__all__ = ["KNOWN", "Format", "describe", "read", "write"]
