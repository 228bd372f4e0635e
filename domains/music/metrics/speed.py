"""Cost of making audio: seconds of computing a second of sound, network calls, memory, on a named device."""

import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.errors import ConfigError

__all__ = ["Cost", "measure_cost"]


@dataclass(frozen=True)
class Cost:
    """What a run cost.

    Attributes:
        rtf: wall seconds per second of audio, decoding included, median of warm runs.
        evaluations: network calls of one run.
        peak_bytes: of the device, or of this process on a CPU.
        device: its name, and the threads used on a CPU.
        runs: warm runs behind the median.
    """

    rtf: float
    evaluations: int
    peak_bytes: int
    device: str
    runs: int


def measure_cost(
    make: Callable[[], int], audio_s: float, *, device: torch.device | str = "cpu", runs: int = 3
) -> Cost:
    """Run once to warm up, then time the median of several runs.

    Args:
        make: makes `audio_s` seconds of sound and returns its number of network calls.
        audio_s: seconds of sound that a run makes.
        device: where it runs.
        runs: timed runs.

    Raises:
        ConfigError: no runs or no audio.
    """
    if runs < 1 or audio_s <= 0:
        raise ConfigError(f"a cost needs runs and seconds of audio, got {runs} and {audio_s}.")
    place = torch.device(device)
    on_gpu = place.type == "cuda"
    calls = make()
    if on_gpu:
        torch.cuda.synchronize(place)
        torch.cuda.reset_peak_memory_stats(place)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        calls = make()
        if on_gpu:
            torch.cuda.synchronize(place)
        seconds.append(time.perf_counter() - start)
    if on_gpu:
        name, peak = torch.cuda.get_device_name(place), torch.cuda.max_memory_allocated(place)
    else:
        name = f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(sorted(seconds)[len(seconds) // 2] / audio_s, calls, peak, name, runs)
