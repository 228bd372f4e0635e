"""The time-series tests need the extra `timeseries`, and say so where it is not installed."""

import pytest

for name in ("pandas", "pyarrow", "statsmodels", "gluonts"):
    pytest.importorskip(name, reason=f"'{name}' is not installed (extra 'timeseries')")
