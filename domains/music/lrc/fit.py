"""Stamps of known words from a recording: forced alignment of their phones to frame log-probabilities.

Frames are labelled so that the phones appear in order, each on one frame at least, with silence allowed where
words part; of all such labellings the likeliest is found by Viterbi's recursion

    v(t, s) = l(t, s) + max(v(t - 1, s), v(t - 1, s - 1), v(t - 1, s - 2) where state s - 1 is a silence).

Source: Rabiner 1989, "A tutorial on hidden Markov models", section III.B, with equal transition weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.errors import DataError
from domains.music.lrc.events import Line, Lyrics, Word, timed_events
from domains.music.phones.phonemise import phones_of, words_of

__all__ = ["Aligned", "Fitted", "align", "fit_lyrics"]


@dataclass(frozen=True)
class Aligned:
    """Where each phone lies.

    Attributes:
        starts: (N,) int64, first frame of each phone.
        ends: (N,) int64, frame after its last.
        scores: (N,), mean log-probability of the phone on its frames, nats.
        total: log-probability of the whole labelling, nats.
    """

    starts: Tensor
    ends: Tensor
    scores: Tensor
    total: float


@dataclass(frozen=True)
class Fitted:
    """Lyrics with fitted stamps; `scores` holds the mean log-probability a phone of each line, nats."""

    lyrics: Lyrics
    scores: tuple[float, ...]


def align(
    log_probs: Tensor, labels: Sequence[int], *, pauses: Sequence[bool] | None = None, silence: int = 0
) -> Aligned:
    """The likeliest places of a sequence of phones.

    Args:
        log_probs: (T, P) log-probabilities of P labels on T frames.
        labels: N labels in order.
        pauses: whether silence may come before each phone, N values; everywhere when None. Silence may always
            follow the last.
        silence: label of frames without a phone.

    Raises:
        DataError: there are more phones than frames, a label outside the table, or NaN.
    """
    frames, size = log_probs.shape
    if not labels:
        raise DataError("there are no phones to align.", hint="Give lyrics with words.")
    if frames < len(labels):
        raise DataError(
            f"{len(labels)} phones cannot lie on {frames} frames.",
            hint="Give a longer recording, or the words that are sung in it.",
        )
    if min(labels) < 0 or max(labels) >= size:
        raise DataError(f"labels must lie in [0, {size}), got {min(labels)} to {max(labels)}.")
    if bool(torch.isnan(log_probs).any()):
        raise DataError("the log-probabilities hold NaN.")
    states, phone_state, optional = _states(labels, pauses, silence)
    emitted = log_probs.double()[:, states]  # (T, S)
    back, last, total = _viterbi(emitted, optional)
    path = torch.empty(frames, dtype=torch.int64)
    state = last
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(back[t, state])
    starts = torch.searchsorted(path, phone_state)
    ends = torch.searchsorted(path, phone_state, right=True)
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), emitted.gather(1, path[:, None])[:, 0].cumsum(0)])
    scores = (sums[ends] - sums[starts]) / (ends - starts)
    return Aligned(starts, ends, scores, total)


def fit_lyrics(
    log_probs: Tensor,
    frame_s: float,
    lyrics: Lyrics,
    label_of: Callable[[str], int | None],
    *,
    language: str = "en",
    silence: int = 0,
) -> Fitted:
    """Give each line and word of lyrics the time at which a recording sings it.

    Args:
        log_probs: (T, P) frame log-probabilities of a recogniser.
        frame_s: seconds a frame.
        lyrics: lines in the order of their stamps, or of the file where some have none. Stamps are replaced.
        label_of: label of an IPA phone; None where the recogniser has none, and the phone is passed over.

    Raises:
        DataError: no words, or more phones than frames.
        MissingExtra: a word needs espeak-ng, which is absent.
    """
    rows = list(lyrics.lines)  # in time, so that a line with several stamps is sung where it stands
    if lyrics.unstamped:
        rows += [Line(0.0, text, number=number) for number, text in lyrics.unstamped]
        rows.sort(key=lambda line: line.number)
    labels: list[int] = []
    pauses: list[bool] = []
    spans: list[tuple[int, str, int]] = []  # line index, word, first phone
    for index, line in enumerate(rows):
        for word in line.text.split():
            phones = [phone for part in words_of(word) for phone in phones_of(part, language)]
            known = [n for n in map(label_of, phones) if n is not None]
            if known:
                spans.append((index, word, len(labels)))
                labels += known
                pauses += [True] + [False] * (len(known) - 1)
    found = align(log_probs, labels, pauses=pauses, silence=silence)
    bounds = [first for _, _, first in spans] + [len(labels)]
    words: dict[int, list[Word]] = {}
    scores: dict[int, list[Tensor]] = {}
    for (index, word, first), end in zip(spans, bounds[1:], strict=True):
        start_s, end_s = float(found.starts[first]) * frame_s, float(found.ends[end - 1]) * frame_s
        words.setdefault(index, []).append(Word(word, start_s, end_s))
        scores.setdefault(index, []).append(found.scores[first:end])
    lines = tuple(
        replace(line, start_s=words[index][0].start_s, words=tuple(words[index]))
        for index, line in enumerate(rows)
        if index in words
    )
    means = tuple(float(torch.cat(scores[index]).mean()) for index in sorted(scores))
    events = timed_events(lyrics.events, lines)
    return Fitted(replace(lyrics, lines=lines, events=events, unstamped=()), means)


def _states(
    labels: Sequence[int], pauses: Sequence[bool] | None, silence: int
) -> tuple[list[int], Tensor, Tensor]:
    """Labels of the states, the state of each phone, and which states may be passed over."""
    allowed = [True] * len(labels) if pauses is None else list(pauses)
    states: list[int] = []
    places: list[int] = []
    optional: list[bool] = []
    for label, pause in zip(labels, allowed, strict=True):
        if pause:
            states.append(silence)
            optional.append(True)
        places.append(len(states))
        states.append(label)
        optional.append(False)
    return [*states, silence], torch.tensor(places), torch.tensor([*optional, True])


def _viterbi(emitted: Tensor, optional: Tensor) -> tuple[Tensor, int, float]:
    """Steps back (T, S) of the best path into each state, the last state, and the log-probability."""
    frames, count = emitted.shape
    never = float("-inf")
    skippable = torch.zeros(count, dtype=torch.bool)
    skippable[2:] = optional[1:-1]  # state s may come from s - 2 over the silence between
    back = torch.zeros(frames, count, dtype=torch.int8)
    best = torch.full((count,), never, dtype=torch.float64)
    best[0] = emitted[0, 0]
    if optional[0]:
        best[1] = emitted[0, 1]
    for t in range(1, frames):
        one = torch.cat([best.new_full((1,), never), best[:-1]])
        two = torch.cat([best.new_full((2,), never), best[:-2]]).where(skippable, best.new_tensor(never))
        value, step = torch.stack([best, one, two]).max(0)
        back[t] = step.to(torch.int8)
        best = value + emitted[t]
    ends = best[-2:] if count > 1 else best[-1:]  # in the last phone or the silence after it
    last = count - len(ends) + int(ends.argmax())
    return back, last, float(best[last])
