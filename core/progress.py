"""How long work tells that it is getting on: one plain call, which does nothing unless somebody listens.

A workflow takes `progress: Progress = silent` and calls it as often as it likes, after each unit of work:

    progress("train tissue", step, steps, f"loss {loss:.3f}")

Nothing below `apps` draws bars or prints; `apps.progress` is one listener, a list's append is another.
"""

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """A listener.

    Args:
        stage: what is being done, "train tissue"; a new name starts a new stage.
        done: units finished so far in this stage, from 0; the same unit throughout a stage.
        total: units in the stage, or None when it is not known.
        metric: the one number that matters, already formatted with its unit, such as "loss 0.412".
    """

    def __call__(self, stage: str, done: int, total: int | None, metric: str | None = None) -> None: ...


def silent(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
    """Listen to nothing."""
