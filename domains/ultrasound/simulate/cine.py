"""Simulated recordings: a beating heart, its haze, their mixture and the truth, as one record."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError, unknown
from domains.ultrasound.data import Record
from domains.ultrasound.signal import demodulate
from domains.ultrasound.simulate.channel import channel_record
from domains.ultrasound.simulate.haze import HazeRecipe, draw_haze, haze_lines, mix
from domains.ultrasound.simulate.polar import tissue_lines
from domains.ultrasound.simulate.probe import Probe, get_probe
from domains.ultrasound.simulate.pymust import pymust_record
from domains.ultrasound.simulate.scene import CardiacScene, draw_scene

__all__ = ["BACKENDS", "Domain", "lines_to_iq", "simulate"]

BACKENDS = ("channel", "polar", "pymust")
CYCLE_S = 1.0  # one heart beat a second

Domain = Literal["iq", "rf"]


def simulate(
    scene: CardiacScene | None = None,
    probe: Probe | None = None,
    *,
    seed: int,
    backend: str = "polar",
    frames: int = 1,
    cycles: float = 1.0,
    level: float = 0.2,
    domain: Domain = "iq",
    recipe: HazeRecipe | None = None,
) -> Record:
    """Simulate a cardiac recording.

    Args:
        scene: the heart; default one drawn from `seed`.
        probe: default the "cardiac" preset.
        seed: same seed, same recording. Speckle, blood, haze and defaults are independent streams of it.
        backend: "polar" (beamformed lines), "channel" or "pymust" (echoes per element, one diverging transmit
            per frame).
        frames: frames spread evenly over `cycles` heart beats of one second, starting with the full
            ventricle.
        level: peak of the haze relative to the peak of the tissue; "polar" only, 0 elsewhere.
        domain: lines of the "polar" backend: IQ at a quarter of the RF sampling frequency (cardiac preset),
            or RF.
        recipe: the haze; default one drawn from `seed`.

    Returns:
        "polar": `beamformed_data`, complex64 or float32 (frame, sample, line), peak magnitude 1, with `truth`
        "tissue" and "haze" (values = tissue + haze), "ventricle" and "myocardium" masks (frame, sample,
        line). Others: `raw_data`, float32 (frame, 1, sample, element), without truth. `meta` holds seed,
        level, phases and the parameters of scene and haze.

    Raises:
        ConfigError: unknown backend or domain, frames < 1, or a haze level for channel data.
    """
    scene = draw_scene(seed) if scene is None else scene
    probe = get_probe("cardiac") if probe is None else probe
    if backend not in BACKENDS:
        raise unknown("backend", backend, BACKENDS)
    if domain not in ("iq", "rf"):
        raise unknown("domain", domain, ("iq", "rf"))
    if frames < 1:
        raise ConfigError(f"frames must be at least 1, got {frames}.")
    phases = [cycles * index / frames for index in range(frames)]
    times_s = [CYCLE_S * phase for phase in phases]
    meta: dict[str, Any] = {
        "source": f"simulated ({backend})",
        "seed": seed,
        "probe": probe.name,
        "phases": phases,
        "scene": scene.parameters(),
    }
    if backend != "polar":
        if level != 0:
            raise ConfigError(
                f"haze is added to beamformed lines, not to channel data (level = {level}).",
                hint="Pass level=0, beamform the record, and add haze with mix().",
            )
        record = (channel_record if backend == "channel" else pymust_record)(scene, probe, phases, seed=seed)
        return replace(record, timestamps_s=np.array(times_s), meta={**record.meta, **meta})

    recipe = draw_haze(seed) if recipe is None else recipe
    tissue = tissue_lines(scene, probe, phases, seed=seed)
    haze = haze_lines(recipe, probe, times_s, seed=seed)
    geometry, decimation = probe.geometry(), 1
    if domain == "iq":
        (tissue, decimation), (haze, _) = lines_to_iq(tissue, probe), lines_to_iq(haze, probe)
        last = float(probe.ranges_m(decimation)[-1])
        geometry = replace(geometry, fs_hz=probe.fs_hz / decimation, fd_hz=probe.f0_hz, r1_m=last)
    mixture = mix(tissue, haze, level)
    x, z = probe.cartesian(probe.ranges_m(decimation)[:, None], probe.laterals()[None, :])
    masks = [scene.masks(x, z, phase) for phase in phases]
    return Record(
        kind="beamformed_data",
        values=mixture.y.numpy(),
        geometry=geometry,
        timestamps_s=np.array(times_s),
        truth={
            "tissue": mixture.tissue.numpy(),
            "haze": mixture.haze.numpy(),
            **{
                name: torch.stack([mask[name] for mask in masks]).numpy()
                for name in ("ventricle", "myocardium")
            },
        },
        meta={**meta, "level": level, "haze": recipe.parameters()},
    )


def lines_to_iq(rf: Tensor, probe: Probe) -> tuple[Tensor, int]:
    """Demodulate RF lines (frame, sample, line) of a probe at its f0: complex64 lines, decimation factor."""
    out = demodulate(rf, fs_hz=probe.fs_hz, f0_hz=probe.f0_hz, bandwidth=probe.bandwidth)
    return out.iq, out.factor
