"""Progress on standard error: a bar per stage on a terminal, a line every 30 s elsewhere.

Both listen to the one call of `core.progress` and show the same: units done, rate, time left, one metric.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from core.progress import Progress, silent

__all__ = ["show_progress"]

LINE_EVERY_S = 30.0


@contextmanager
def show_progress(
    *, quiet: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Progress]:
    """Listen while the block runs; nothing of a bar is left when it ends badly.

    Args:
        quiet: show nothing.
        stream: where to show it, standard error by default.
        clock: seconds, increasing; tests pass their own.
    """
    stream = stream or sys.stderr
    if quiet:
        yield silent
    elif stream.isatty():
        with _bars(stream) as progress:
            yield progress
    else:
        yield _Lines(stream, clock)


@dataclass
class _Lines:
    """One line every 30 s of a stage; stages that end sooner print nothing."""

    stream: TextIO
    clock: Callable[[], float]
    stage: str = ""
    since: float = 0.0
    first: int = 0
    printed: float = field(default=0.0)

    def __call__(self, stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        now = self.clock()
        if stage != self.stage:
            self.stage, self.since, self.first, self.printed = stage, now, done, now
        if now - self.printed < LINE_EVERY_S:
            return
        self.printed = now
        rate = (done - self.first) / (now - self.since)
        parts = [f"{stage}: {done}" if total is None else f"{stage}: {done}/{total}", f"{rate:.3g}/s"]
        if total is not None and rate > 0:
            parts.append(f"{_clock_time((total - done) / rate)} left")
        if metric:
            parts.append(metric)
        print(", ".join(parts), file=self.stream, flush=True)


@contextmanager
def _bars(stream: TextIO) -> Iterator[Progress]:
    """A rich bar per stage; a finished stage keeps its line."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[metric]}", markup=False),
    )
    tasks = {}
    with RichProgress(*columns, console=Console(file=stream), refresh_per_second=4) as bars:

        def progress(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, completed=done, metric="")
            bars.update(tasks[stage], completed=done, total=total, metric=metric or "")

        yield progress


def _clock_time(seconds: float) -> str:
    """Minutes and seconds, with hours when there are any: "1:05", "2:00:30"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
