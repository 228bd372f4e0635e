"""Time series: read, split, score and draw forecasts; one diffusion model per table, used four ways.

Every module here needs pandas; GluonTS, pyarrow, statsmodels and matplotlib are imported where they are used.
"""

import warnings

from core.extras import require

require("pandas", extra="timeseries")

# pandas 2.1 and later warn at each step along business days kept as periods. GluonTS keeps its starts as
# periods, business days included, and pandas names no replacement that counts steps the same way.
warnings.filterwarnings("ignore", message=r"(Period with BDay freq|PeriodDtype\[B\]) is deprecated")
