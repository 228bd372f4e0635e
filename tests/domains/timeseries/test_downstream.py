"""Forecasters trained on windows: a good set of windows teaches more than noise does."""

import numpy as np
import pytest

from core.errors import ConfigError
from domains.timeseries.data import split
from domains.timeseries.downstream import Downstream, downstream_score
from domains.timeseries.formats.builtin import read_builtin
from domains.timeseries.lps import real_windows

C, P = 48, 24


@pytest.mark.slow
@pytest.mark.parametrize("model", ["deepar", "transformer"])
def test_real_windows_teach_more_than_windows_of_noise(model: Downstream) -> None:
    training, instances = split(read_builtin("simulated"))
    gen = np.random.default_rng(0)
    real = real_windows(training, 400, context_length=C, prediction_length=P, gen=gen)
    noise = np.abs(gen.normal(1, 0.3, size=real.shape))
    scores = [
        downstream_score(
            windows,
            instances[:16],
            prediction_length=P,
            freq="h",
            season=24,
            model=model,
            epochs=8,
            batches=25,
            samples=50,
        )
        for windows in (real, noise)
    ]
    print(f"{model}: real {scores[0]:.4f}, noise {scores[1]:.4f}")
    assert scores[0] < 0.8 * scores[1]


def test_what_cannot_be_trained_is_refused() -> None:
    training, instances = split(read_builtin("simulated"))
    assert training
    with pytest.raises(ConfigError, match="unknown downstream model"):
        downstream_score(
            np.ones((4, 72)),
            instances,
            prediction_length=P,
            freq="h",
            season=24,
            model="arima",  # type: ignore[arg-type]
        )
    with pytest.raises(ConfigError, match="context of 2"):
        downstream_score(np.ones((4, 26)), instances, prediction_length=P, freq="h", season=24)
