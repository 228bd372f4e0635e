"""Series that need no download: real ones inside statsmodels, and a simulated set with an exact law.

| name         | what it is                                                     | freq  | series x length |
| ------------ | -------------------------------------------------------------- | ----- | --------------- |
| `co2`        | CO2 in the air at Mauna Loa, ppm, weekly 1958 to 2001, 59 gaps | W-SAT | 1 x 2284        |
| `elnino`     | sea surface temperature off Peru, Celsius, 1950 to 2010        | M     | 1 x 732         |
| `sunspots`   | mean sunspot number, 1700 to 2008                              | Y-DEC | 1 x 309         |
| `macrodata`  | macroeconomic series of the United States, 1959 to 2009        | Q-DEC | 12 x 203        |
| `simulated`  | `data.synthetic.series` with its defaults and seed 0           | h     | 32 x 960        |

Seasonality is stated where it is not GluonTS's for the frequency: 52 weeks, 11 years of the solar cycle.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.errors import unknown
from core.extras import require
from data.synthetic.series import Exact, SeasonalAR
from domains.timeseries.data import Instance, Quantiles, Series, Table
from domains.timeseries.formats.frames import Reading, read_frame

__all__ = ["BUILTIN", "exact_forecasts", "read_builtin"]


def _frame(name: str) -> Any:
    module = require(f"statsmodels.datasets.{name}", extra="timeseries")
    return module.load_pandas().data


def _co2() -> Table:
    frame = _frame("co2").rename_axis("timestamp").reset_index()
    table = read_frame(frame, Reading(freq="W-SAT"), source="co2")
    return _with(table, "co2", p=26, c=156, k=5, season=52)


def _elnino() -> Table:
    wide = _frame("elnino").set_index("YEAR")
    values = wide.to_numpy(dtype=np.float64).reshape(-1)
    start = pd.Period(f"{int(wide.index[0])}-01", freq="M")
    return _with(Table((Series("elnino", start, values),), "M"), "elnino", p=12, c=60, k=5)


def _sunspots() -> Table:
    frame = _frame("sunspots")
    start = pd.Period(str(int(frame["YEAR"].iloc[0])), freq="Y-DEC")
    series = Series("sunspots", start, frame["SUNACTIVITY"].to_numpy(dtype=np.float64))
    return _with(Table((series,), "Y-DEC"), "sunspots", p=11, c=44, k=3, season=11)


def _macrodata() -> Table:
    frame = _frame("macrodata")
    start = pd.Period(year=int(frame["year"].iloc[0]), quarter=int(frame["quarter"].iloc[0]), freq="Q-DEC")
    names = [name for name in frame.columns if name not in ("year", "quarter")]
    series = tuple(Series(name, start, frame[name].to_numpy(dtype=np.float64)) for name in names)
    return _with(Table(series, "Q-DEC"), "macrodata", p=8, c=32, k=3)


def _simulated() -> Table:
    values = SeasonalAR().draw(32, 960, np.random.default_rng(0))
    start = pd.Period("2024-01-01 00:00", freq="h")
    series = tuple(Series(f"series-{i}", start, row) for i, row in enumerate(values))
    return _with(Table(series, "h"), "simulated", p=24, c=96, k=1)


def exact_forecasts(instances: Sequence[Instance]) -> list[Quantiles]:
    """The exact law of tests of `simulated`, at levels 0.05, 0.10 ... 0.95: the lowest loss to expect."""
    levels = tuple(round(0.05 * i, 2) for i in range(1, 20))
    process = SeasonalAR()
    kept: dict[tuple[bytes, int, int], tuple[Any, Any]] = {}
    found = []
    for instance in instances:
        history, p = instance.series, len(instance.label)
        seen = np.flatnonzero(~np.isnan(history.target))
        key = (seen.tobytes(), len(history), p)
        if key not in kept:
            kept[key] = process.weights(seen, len(history) + np.arange(p))
        weights, covariance = kept[key]
        law = Exact(process.level + weights @ (history.target[seen] - process.level), covariance)
        rows = np.stack([law.quantile(level) for level in levels])
        found.append(Quantiles(history.item_id, history.end, levels, rows, law.mean))
    return found


def _with(table: Table, name: str, *, p: int, c: int, k: int, season: int | None = None) -> Table:
    return Table(
        table.series,
        table.freq,
        table.notes,
        name=name,
        prediction_length=p,
        context_length=c,
        rolling_windows=k,
        seasonality=season,
        stamp=table.stamp,
    )


BUILTIN: dict[str, Callable[[], Table]] = {
    "co2": _co2,
    "elnino": _elnino,
    "macrodata": _macrodata,
    "simulated": _simulated,
    "sunspots": _sunspots,
}


def read_builtin(name: str) -> Table:
    """Read one of the tables above.

    Raises:
        ConfigError: there is none of that name.
        MissingExtra: statsmodels is not installed.
    """
    if name not in BUILTIN:
        raise unknown("built-in table", name, BUILTIN)
    return BUILTIN[name]()
