"""TSFlow: flow matching from Gaussian-process noise that knows the context, in 32 Euler steps.

The network, the windows, the features and the training loop are those of TSDiff-Cond; what differs is the
process (`core.process.correlated`) and that the network predicts the velocity of the straight path from a
draw of the process, already a forecast of sorts, to the data. The first C points that condition the noise
are the window's, with gaps closed by straight lines.

Source: Kollovieh, Lienen, Luedke, Schwinn & Guennemann 2024, arXiv:2410.03024. Deviations: a sum of kernels
in place of one, and the noise is that of the conditional model only.
"""

from core.process import CorrelatedFlow
from core.process.correlated import Part
from domains.timeseries.config import FlowConfig
from domains.timeseries.windows import Shape

__all__ = ["process_of"]


def process_of(shape: Shape, config: FlowConfig, season: int) -> CorrelatedFlow:
    """The process of a window: kernels of the settings, conditioned on the context.

    Args:
        season: points per season, where the settings name none; "periodic" is left out where it is 1.
    """
    period = config.season or season
    parts = []
    for name in config.kernels:
        if name == "periodic":
            if period > 1:
                parts.append(Part(name, config.variance, config.smooth, float(period)))
        else:
            parts.append(Part(name, config.variance, config.length))
    if not parts:
        parts.append(Part("ou", config.variance, config.length))
    return CorrelatedFlow(shape.length, shape.context, tuple(parts), config.noise)
