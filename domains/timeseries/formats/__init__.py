"""Readers and writers of series and forecasts.

`read_table(source)` takes whatever holds series and returns a `Table`, with notes on what reading changed;
`write_table` is its inverse. `write_forecasts` and `read_forecasts` do the same for forecasts, and `exchange`
converts in memory to and from GluonTS, Darts and fev.
"""

from domains.timeseries.formats.builtin import BUILTIN, read_builtin
from domains.timeseries.formats.forecast_files import read_forecasts
from domains.timeseries.formats.forecasts import long_frame, nixtla_frame, write_forecasts
from domains.timeseries.formats.frames import Reading
from domains.timeseries.formats.read import KNOWN, open_table, read_table
from domains.timeseries.formats.write import LAYOUTS, WRITABLE, write_table

__all__ = [
    "BUILTIN",
    "KNOWN",
    "LAYOUTS",
    "WRITABLE",
    "Reading",
    "long_frame",
    "nixtla_frame",
    "open_table",
    "read_builtin",
    "read_forecasts",
    "read_table",
    "write_forecasts",
    "write_table",
]
