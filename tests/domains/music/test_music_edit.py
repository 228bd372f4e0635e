"""Edits: what was not asked for is the original to the last bit, borders are faded, spans are checked."""

import math

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError, DataError
from domains.music.canvas import canvas_of, paste, spans_of
from domains.music.config import Sampling
from domains.music.edit import (
    BACKING,
    VOICE,
    Edited,
    Studio,
    edit,
    extend,
    loop,
    redraw,
    stitch,
    variation,
)
from domains.music.generation import condition
from domains.music.model import SongModel
from tests.domains.music.songs import random_model
from tests.domains.music.toy_codec import ToyCodec

RATE, HOP = 22050, 1024
FADE = round(0.02 * RATE)
FRAMES = 60
N = FRAMES * HOP - 300  # the last frame is not whole


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio(random_model(), ToyCodec(), Sampling(steps=2, lyrics=1, style=1))


def song(samples: int = N, rows: int = 2, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


def told(model: SongModel, frames: int = FRAMES) -> dict[str, Tensor]:
    return condition(model, frames, phones=torch.arange(frames) % 20, style=torch.ones(4))


def gen() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_outside_the_spans_every_bit_is_the_original(studio: Studio) -> None:
    wave = song()
    made = edit(studio, wave, [(0.5, 1.0), (2.0, -1.0)], told(studio.model), gen())
    first, last, tail = round(0.5 * RATE), round(1.0 * RATE), round(2.0 * RATE)
    assert made.wave.shape == wave.shape
    for low, high in ((0, first - FADE), (last + FADE, tail - FADE)):
        assert torch.equal(made.wave[:, low:high], wave[:, low:high])
    for low, high in ((first - FADE, last + FADE), (tail - FADE, N)):
        assert bool((made.wave[:, low:high] != wave[:, low:high]).any(1).all())
    assert made.calls == 2


def test_a_fade_has_equal_power() -> None:
    given = torch.zeros(1, 5000, dtype=torch.bool)
    given[:, 1000:4000] = True
    one, other = torch.ones(1, 5000), torch.zeros(1, 5000)
    up = paste(one, other, given, rate=RATE)[0]
    down = paste(other, one, given, rate=RATE)[0]
    assert torch.allclose(up[1000 : 1000 + FADE] ** 2 + down[1000 : 1000 + FADE] ** 2, torch.ones(FADE))
    assert float(up[1000 + FADE // 2]) == pytest.approx(math.sin(math.pi / 4), abs=2e-3)
    assert bool((up[1000 + FADE : 4000 - FADE] == 1).all())
    assert not up[:1000].any()
    assert not up[4000:].any()
    assert bool((up[1000 : 1000 + FADE].diff() > 0).all())
    assert bool((up[4000 - FADE : 4000].diff() < 0).all())


def test_a_longer_song_keeps_the_one_it_grew_from(studio: Studio) -> None:
    wave = song()
    made = extend(studio, wave, told(studio.model, FRAMES + 5 + 11), gen(), left_s=0.2, right_s=0.5)
    left, right = math.ceil(0.2 * RATE / HOP), math.ceil(0.5 * RATE / HOP)
    assert (left, right) == (5, 11)
    assert made.wave.shape == (2, (FRAMES + left + right) * HOP)
    body = slice(left * HOP + FADE, left * HOP + N - FADE)
    assert torch.equal(made.wave[:, body], wave[:, FADE : N - FADE])
    only = extend(studio, wave, told(studio.model, FRAMES + 5), gen(), left_s=0.2)
    assert only.wave.shape == (2, N + left * HOP)
    assert torch.equal(only.wave[:, left * HOP + FADE :], wave[:, FADE:])
    with pytest.raises(ConfigError, match="needs a positive length"):
        extend(studio, wave, told(studio.model), gen())


def test_a_loop_changes_its_seam_only(studio: Studio) -> None:
    wave = song()
    made = loop(studio, wave, told(studio.model), gen(), seam_s=0.4)
    half = round(0.2 * RATE)
    assert torch.equal(
        made.wave[:, half + FADE : N - half - FADE - 1], wave[:, half + FADE : N - half - FADE - 1]
    )
    assert bool((made.wave[:, :half] != wave[:, :half]).any())
    assert bool((made.wave[:, -half:] != wave[:, -half:]).any())
    with pytest.raises(ConfigError, match="does not fit a song of 2"):
        loop(studio, wave, told(studio.model), gen(), seam_s=2.0)


def test_new_words_leave_the_backing_alone(studio: Studio) -> None:
    wave = song()
    made = redraw(studio, wave, told(studio.model), gen(), VOICE, spans=[(1.0, 2.0)])
    assert torch.equal(made.wave[1], wave[1])
    first, last = round(1.0 * RATE), round(2.0 * RATE)
    assert torch.equal(made.wave[0, : first - FADE], wave[0, : first - FADE])
    assert torch.equal(made.wave[0, last + FADE :], wave[0, last + FADE :])
    assert not torch.equal(made.wave[0, first:last], wave[0, first:last])
    music = redraw(studio, wave, told(studio.model), gen(), BACKING)
    assert torch.equal(music.wave[0], wave[0])
    assert bool((music.wave[1] != wave[1]).all())


def test_two_songs_are_stitched_by_a_passage(studio: Studio) -> None:
    first, second = song(20 * HOP - 100, seed=1), song(25 * HOP - 50, seed=2)
    made = stitch(studio, first, second, told(studio.model, 20 + 7 + 25), gen(), gap_s=0.3)
    assert made.wave.shape == (2, 27 * HOP + second.shape[1])
    assert torch.equal(made.wave[:, : first.shape[1] - FADE], first[:, :-FADE])
    assert torch.equal(made.wave[:, 27 * HOP + FADE :], second[:, FADE:])


def test_a_variation_keeps_nothing_and_nears_the_song_as_noise_falls(studio: Studio) -> None:
    wave = song()
    reference = ToyCodec().decode(ToyCodec().encode(wave[:, None]).mean)[:, 0, :N]
    far = []
    for strength in (0.01, 0.9):
        made: Edited = variation(studio, wave, told(studio.model), gen(), strength=strength)
        far.append(float((made.wave - reference).norm() / reference.norm()))
    assert far[0] < 0.2 < far[1]
    with pytest.raises(ConfigError, match=r"strength must lie in \(0, 1\], got 0"):
        variation(studio, wave, told(studio.model), gen(), strength=0)


def test_a_mix_becomes_the_backing_and_that_is_said(studio: Studio) -> None:
    canvas = canvas_of(studio.model, studio.codec, song(rows=1))
    assert canvas.latents.shape == (1, 8, FRAMES)
    assert not canvas.wave[0].any()
    assert canvas.notes == (
        "the song came as a mix: it is taken for the backing, and its voice stays part of that",
    )
    with pytest.raises(DataError, match=r"expected waves \(2, samples\), got \(3, 100\)"):
        canvas_of(studio.model, studio.codec, song(100, rows=3))


def test_the_same_seed_gives_the_same_edit(studio: Studio) -> None:
    made = [edit(studio, song(), [(0.5, 1.0)], told(studio.model), gen()).wave for _ in range(2)]
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("span", "message"),
    [
        ((3.0, 2.0), "the span 3 to 2 s is empty or reversed"),
        ((2.0, 2.0), "empty or reversed"),
        ((1.0, 99.0), "the span 1 to 99 s lies outside the song of 10.00 s"),
        ((-0.5, 1.0), "lies outside"),
        ((math.nan, 1.0), "empty or reversed"),
    ],
)
def test_spans_that_cannot_be_are_named(span: tuple[float, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spans_of([span], 10.0)


def test_spans_are_put_in_order_and_must_not_overlap() -> None:
    assert spans_of([(4, -1), (-1, 2)], 10.0) == [(0.0, 2.0), (4.0, 10.0)]
    with pytest.raises(ConfigError, match="the span 3 to 5 s overlaps the one before, to 4 s"):
        spans_of([(3, 5), (2, 4)], 10.0)
    with pytest.raises(ConfigError, match="at least one span"):
        spans_of([], 10.0)
