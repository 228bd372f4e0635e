"""What a user asks of the time-series domain, one function each; `suffuse timeseries` calls these.

Each reads and checks everything before it writes anything; `ready` is told in between (see `core.outlook`).
"""

from domains.timeseries.workflows.forecasting import forecast_file
from domains.timeseries.workflows.imputing import impute_file
from domains.timeseries.workflows.refining import refine_file
from domains.timeseries.workflows.scoring import score_file
from domains.timeseries.workflows.synthesizing import synthesize_file
from domains.timeseries.workflows.training import train_file
from domains.timeseries.workflows.tuning import tune_scale_file

__all__ = [
    "forecast_file",
    "impute_file",
    "refine_file",
    "score_file",
    "synthesize_file",
    "train_file",
    "tune_scale_file",
]
