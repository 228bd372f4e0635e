"""Progress: lines at the stated interval, a bar on a terminal, and silence when asked."""

import io

import pytest

from apps.progress import show_progress
from core.progress import silent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_than_on_a_terminal_a_stage_prints_one_line_every_30_s() -> None:
    stream, clock = io.StringIO(), Clock()
    with show_progress(stream=stream, clock=clock) as progress:
        for step in range(101):  # one step a second
            progress("train tissue", step, 200, f"loss {step / 100:.2f}")
            clock.now += 1.0
    assert stream.getvalue().splitlines() == [
        "train tissue: 30/200, 1/s, 2:50 left, loss 0.30",
        "train tissue: 60/200, 1/s, 2:20 left, loss 0.60",
        "train tissue: 90/200, 1/s, 1:50 left, loss 0.90",
    ]


def test_a_new_stage_starts_a_new_interval() -> None:
    stream, clock = io.StringIO(), Clock()
    with show_progress(stream=stream, clock=clock) as progress:
        for stage in ("a", "b", "c"):
            for done in range(2):
                progress(stage, done, 1)
                clock.now += 20.0
    assert stream.getvalue() == ""


def test_a_resumed_stage_counts_its_rate_from_where_it_began_and_hours_are_shown() -> None:
    stream, clock = io.StringIO(), Clock()
    with show_progress(stream=stream, clock=clock) as progress:
        progress("fetch", 1000, 8230)
        clock.now = 30.0
        progress("fetch", 1030, 8230)
    assert stream.getvalue() == "fetch: 1030/8230, 1/s, 2:00:00 left\n"


def test_an_unknown_total_shows_no_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    with show_progress(stream=stream, clock=clock) as progress:
        progress("read", 0, None)
        clock.now = 60.0
        progress("read", 90, None)
    assert stream.getvalue() == "read: 90, 1.5/s\n"


def test_quiet_is_the_silent_listener() -> None:
    stream = Terminal()
    with show_progress(quiet=True, stream=stream) as progress:
        assert progress is silent
        progress("a", 1, 1)
    assert stream.getvalue() == ""


def test_a_terminal_shows_stage_count_and_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with show_progress(stream=stream) as progress:
        progress("train tissue", 1, 4, "loss [0.5]")
        progress("train tissue", 4, 4, "loss [0.25]")
        progress("train haze", 2, 4)
    last = stream.getvalue().splitlines()
    assert any("train tissue" in line and "4/4" in line and "loss [0.25]" in line for line in last)
    assert any("train haze" in line and "2/4" in line for line in last)
