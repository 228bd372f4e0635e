"""Readers and writers of series and forecasts.

`read_table(source)` takes whatever holds series and returns a `Table`, with notes on what reading changed.
"""

from domains.timeseries.formats.builtin import BUILTIN, read_builtin
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import KNOWN, read_table

__all__ = ["BUILTIN", "KNOWN", "Reading", "read_builtin", "read_table"]
