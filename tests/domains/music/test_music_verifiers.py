"""What a noise search listens for: words in their slots, tags, and songs that an ear has chosen itself."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("torchaudio", reason="needs the extra 'music'")

from domains.music.metrics.words import Sung
from domains.music.recogniser import FRAME_S, LABELS, Heard
from domains.music.tagger import Tagger, TaggerConfig
from domains.music.verifiers import Mixes, Slot, Style, Words, chosen_by, slots
from tests.domains.music.toy_codec import ToyCodec

RATE = 22050
SURE = 0.9  # probability of the label that is heard


class Ear:
    """Hears one label a frame, whatever the wave."""

    def __init__(self, labels: list[int]) -> None:
        probs = torch.full((len(labels), len(LABELS)), (1 - SURE) / (len(LABELS) - 1))
        probs[torch.arange(len(labels)), torch.tensor(labels)] = SURE
        self.log_probs = probs.log()

    def hear(self, wave: Tensor, rate: int) -> Heard:
        return Heard(self.log_probs)


def words(heard: list[int], places: list[Slot]) -> float:
    ear: Any = Ear(heard)
    mixes: Any = lambda x: x  # noqa: E731
    return float(Words(mixes, ear, places, RATE)(torch.zeros(1, 10))[0])


def test_words_that_are_heard_score_zero_and_each_wrong_frame_costs_its_log_ratio() -> None:
    heard = [0, 5, 5, 7, 7, 0]
    assert words(heard, [Slot(0, 6, (5, 7))]) == pytest.approx(0, abs=1e-6)
    # Two phones; the second is heard nowhere, so the best path gives it one frame and silence the other.
    lost = math.log((1 - SURE) / (len(LABELS) - 1) / SURE)
    assert words(heard, [Slot(0, 6, (5, 9))]) == pytest.approx(2 * lost / 2)
    # The words of the slot before are no help.
    assert words(heard, [Slot(3, 6, (5,))]) < words(heard, [Slot(3, 6, (7,))])
    assert words(heard, []) == 0


def test_a_line_belongs_where_its_stamp_is_with_a_quarter_second_around() -> None:
    sung = Sung(((1.0, (5, 6)), (2.0, (7,)), (4.0, (8,))))
    frames = lambda seconds: round(seconds / FRAME_S)  # noqa: E731
    assert slots(sung, 0, 5) == [
        Slot(frames(0.75), frames(2.25), (5, 6)),
        Slot(frames(1.75), frames(4.25), (7,)),
        Slot(frames(3.75), frames(5), (8,)),
    ]
    # A part of the song counts from its own start, and holds the lines that begin in it.
    assert slots(sung, 1.5, 3.0) == [Slot(frames(0.25), frames(1.5), (7,))]
    assert slots(sung, 5, 9) == []


def test_a_line_that_does_not_fit_its_slot_is_left_out() -> None:
    crowded = Sung(((0.0, (5,) * 40), (0.1, (6,))))  # 40 phones in 0.35 s, 15 frames
    assert [slot.labels for slot in slots(crowded, 0, 2)] == [(6,)]


def test_style_is_the_cosine_of_wave_and_tags() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tagger = Tagger(TaggerConfig(8, 8)).eval()
    wave = torch.randn(1, RATE, generator=torch.Generator().manual_seed(1))
    mixes: Any = lambda x: x  # noqa: E731
    found = float(Style(mixes, tagger, {"instrument": "piano"}, RATE)(wave)[0])
    heard, asked = tagger.embed_audio(wave[0], RATE), tagger.embed_tags("piano")
    assert found == pytest.approx(float(torch.cosine_similarity(heard, asked, dim=0)), abs=1e-5)


def test_mixes_add_the_stems_and_decode_once_for_all_ears() -> None:
    codec = ToyCodec()
    x = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    mixes = Mixes(codec, 2)
    whole = codec.decode(x.reshape(6, 4, 5)).reshape(3, 2, -1).sum(1)
    assert torch.allclose(mixes(x), whole, atol=1e-5)
    assert mixes(x) is mixes(x)
    assert not torch.equal(mixes(x + 1), whole)


def test_a_song_is_chosen_by_the_networks_it_was_searched_with() -> None:
    networks = {"recogniser": "a", "tagger": "b"}
    record = {"search": {"verifiers": ["words"], "second": "style", "networks": networks}}
    assert chosen_by(record, "recogniser", "a")
    assert not chosen_by(record, "recogniser", "other weights")
    assert not chosen_by(record, "tagger", "b")  # heard, not searched on
    assert not chosen_by({}, "recogniser", "a")
