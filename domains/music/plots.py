"""Pictures of songs: the log-mel spectrogram in Hz and s with the lyrics under it at their stamps.

Every function writes `out` (PNG) and the CSV of the same stem, and returns both paths.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.errors import DataError
from core.palette import COLOURS, STYLE
from domains.music.lrc.events import Lyrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["mel_levels", "plot_curves", "plot_song"]

WINDOW, STEP, BANDS, FLOOR_HZ = 2048, 512, 96, 40.0
RANGE_DB = 70.0
COLUMNS = 1600  # of the picture at most: longer songs are averaged in time
ROWS = 4  # of lyrics below the picture
LATE = 0.75  # share of the picture after which words stand before their stamp
MARKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10000)


def mel_levels(samples: Tensor, rate: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Mel-band levels of a wave.

    Args:
        samples: (N,), full scale 1.

    Returns:
        Levels (bands, T) in dB below the loudest, in [-70, 0]; centres of the bands, Hz; seconds a column.
    """
    if samples.ndim != 1 or len(samples) == 0:
        raise DataError(f"expected a wave (samples,), got {tuple(samples.shape)}.")
    size = min(WINDOW, max(64, 2 ** int(np.log2(len(samples)))))
    spectrum = torch.stft(
        samples.float(), size, STEP, window=torch.hann_window(size), return_complex=True, pad_mode="constant"
    )
    filters, centres = _mel(size // 2 + 1, rate)
    power = torch.from_numpy(filters).float() @ spectrum.abs().square()
    step = STEP / rate
    if power.shape[1] > COLUMNS:
        few = -(-power.shape[1] // COLUMNS)
        power = torch.nn.functional.avg_pool1d(power[None], few, ceil_mode=True, count_include_pad=False)[0]
        step *= few
    level = 10 * torch.log10(power.clamp(min=1e-12))
    return (level - level.max()).clamp(min=-RANGE_DB).numpy(), centres, step


def plot_song(
    samples: Tensor,
    rate: int,
    out: Path,
    *,
    lyrics: Lyrics | None = None,
    spans: Sequence[tuple[float, float]] = (),
) -> tuple[Path, Path]:
    """Draw a song with its lyrics.

    Args:
        samples: (N,), full scale 1.
        lyrics: lines are written under the picture where their stamps are.
        spans: seconds that were drawn anew, marked on the time axis.
    """
    levels, centres, step = mel_levels(samples, rate)
    seconds = len(samples) / rate
    lines = [line for line in lyrics.lines if line.start_s <= seconds] if lyrics else []
    with _style():
        fig = _figure(min(max(5.0, seconds * 0.25), 16.0), 3.4 + (1.0 if lines else 0.0))
        if lines:
            ax, below = fig.subplots(2, 1, sharex=True, height_ratios=(3.0, 1.0))
        else:
            ax, below = fig.subplots(), None
        box = (0.0, seconds, 0.0, float(len(centres)))
        image = ax.imshow(levels, aspect="auto", origin="lower", extent=box, cmap="viridis")
        marks = [hz for hz in MARKS_HZ if hz <= centres[-1]]
        ax.set_yticks(np.interp(marks, centres, np.arange(len(centres)) + 0.5), [str(hz) for hz in marks])
        ax.set_ylabel("frequency, Hz")
        ax.set_xlim(0, seconds)
        for start, end in spans:
            ax.axvspan(start, end, ymin=0.97, color=COLOURS[3], lw=0)
        fig.colorbar(image, ax=ax, label="level, dB")
        if below is None:
            ax.set_xlabel("time, s")
        else:
            _lyrics(below, ax, lines)
        fig.savefig(out)
    header = ["start_s", *(f"level_db_at_{centre:.0f}_hz" for centre in centres)]
    rows = [[f"{i * step:.3f}", *(f"{value:.1f}" for value in column)] for i, column in enumerate(levels.T)]
    return out, _csv(out, header, rows)


def plot_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], out: Path, *, x: str, y: str
) -> tuple[Path, Path]:
    """Draw lines: what control asked for and what came out, losses over steps.

    Args:
        curves: name -> (x values, y values).
        x, y: labels of the axes, with units.
    """
    with _style():
        fig = _figure(5.2, 3.2)
        ax = fig.subplots()
        for (name, (across, up)), colour in zip(curves.items(), COLOURS, strict=False):
            ax.plot(list(across), list(up), color=colour, label=name)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        if len(curves) > 1:
            ax.legend()
        fig.savefig(out)
    rows = [
        [name, f"{a:.6g}", f"{b:.6g}"]
        for name, (across, up) in curves.items()
        for a, b in zip(across, up, strict=True)
    ]
    return out, _csv(out, ["curve", x, y], rows)


def _lyrics(ax: "Axes", above: "Axes", lines: Sequence[Any]) -> None:
    """Words at their stamps, in rows that alternate so that neighbours do not meet; late ones end there."""
    rows, (first, last) = min(ROWS, max(len(lines), 1)), above.get_xlim()
    for index, line in enumerate(lines):
        row = 1 - (index % rows + 0.5) / rows
        late = line.start_s - first > LATE * (last - first)
        above.axvline(line.start_s, color="white", lw=0.5, alpha=0.6)
        ax.plot([line.start_s, line.start_s], [row, 1], color="#999999", lw=0.6)
        words = ax.text(line.start_s, row, f" {line.text} ", fontsize=7, va="center", clip_on=True)
        words.set_horizontalalignment("right" if late else "left")
        words.set_in_layout(False)  # long lines are cut, not fitted
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.set_xlabel("time, s")
    for side in ("left", "top", "right"):
        ax.spines[side].set_visible(False)


def _mel(bins: int, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangular filters (bands, bins) evenly spaced in mel = 2595 log10(1 + f / 700), and their centres."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    low = 2595 * np.log10(1 + FLOOR_HZ / 700)
    points = 700 * (10 ** (np.linspace(low, top, BANDS + 2) / 2595) - 1)
    f = np.linspace(0, rate / 2, bins)
    left, centre, right = points[:-2, None], points[1:-1, None], points[2:, None]
    filters = np.minimum((f - left) / (centre - left), (right - f) / (right - centre)).clip(min=0)
    empty = filters.sum(1) == 0  # bands narrower than a bin take the nearest one
    filters[empty, np.abs(f[None] - centre[empty]).argmin(1)] = 1.0
    return filters / filters.sum(1, keepdims=True), points[1:-1]


def _style() -> Any:
    import matplotlib as mpl

    settings: Any = dict(STYLE)
    return mpl.rc_context(settings)


def _figure(wide: float, tall: float) -> Any:
    """A figure outside pyplot's global state; saving as PNG uses the Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(wide, tall))
    FigureCanvasAgg(fig)
    return fig


def _csv(out: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    path = out.with_suffix(".csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path
