"""PyMUST backend: a cross-check of the channel backend by an independent, frequency-domain simulator.

PyMUST's `simus` sums pressure fields over frequencies (far-field elements, one transmit at a time) and takes
seconds for a thousand scatterers, so it serves comparison, not training. The package `pymust` is optional
(LGPL); probe, scatterers, delays and the layout of the record are those of `channel.py`, with 1000 scatterers
per frame. Its pulse is a one-cycle excitation through the probe's bandwidth, centred on the two-way delay.

Source: Garcia 2022, Comput. Methods Programs Biomed. 218, 106726 (SIMUS).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.extras import require
from domains.ultrasound.data import Record
from domains.ultrasound.simulate.channel import fan, heart_scatterers, raw_record, sample_count
from domains.ultrasound.simulate.probe import Probe
from domains.ultrasound.simulate.scene import CardiacScene

__all__ = ["pymust_echoes", "pymust_record"]

SCATTERERS = 1000
THRESHOLD_DB = -60  # frequencies weaker than this are left out


def pymust_echoes(probe: Probe, x: Tensor, z: Tensor, amplitude: Tensor, delays_s: Tensor) -> Tensor:
    """Return the echoes of point scatterers by `pymust.simus`; arguments and result as `channel_echoes`.

    Raises:
        MissingExtra: pymust is not installed.
        ConfigError: the probe samples slower than 4 f0, which PyMUST refuses.
    """
    pymust = require("pymust", extra="pymust")
    if probe.fs_hz < 4 * probe.f0_hz:
        raise ConfigError(f"PyMUST needs fs_hz >= 4 f0_hz, got {probe.fs_hz:g} and {probe.f0_hz:g}.")
    param = pymust.utils.Param()
    param.fc, param.fs, param.c = probe.f0_hz, probe.fs_hz, probe.sound_speed_m_s
    param.pitch, param.width = probe.pitch_m, probe.element_width_m
    param.kerf = probe.pitch_m - probe.element_width_m
    param.Nelements, param.radius, param.bandwidth = probe.elements, np.inf, 100 * probe.bandwidth
    options = pymust.utils.Options()
    options.dBThresh = THRESHOLD_DB
    points = [np.asarray(values, dtype=np.float64)[None] for values in (x, z, amplitude)]
    count = sample_count(probe, delays_s)
    out = torch.zeros(delays_s.shape[0], count, probe.elements)
    for frame, law in zip(out, np.asarray(delays_s, dtype=np.float64)[:, None, :], strict=True):
        echoes = np.asarray(pymust.simus(*points, law, param, options)[0][:count], dtype=np.float32)
        frame[: echoes.shape[0]] = torch.from_numpy(echoes)
    return out


def pymust_record(scene: CardiacScene, probe: Probe, phases: Sequence[float], *, seed: int) -> Record:
    """Return one diverging transmit per phase: `raw_data` (frame, 1, sample, element), float32."""
    require("pymust", extra="pymust")
    delays = fan(probe)
    frames = [
        pymust_echoes(probe, *heart_scatterers(scene, probe, phase, seed=seed, n=SCATTERERS), delays)
        for phase in phases
    ]
    return raw_record(probe, torch.stack(frames), delays)
