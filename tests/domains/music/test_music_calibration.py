"""Words, and the verdicts on metrics: who is informative is decided by rows whose order is known."""

import pytest
import torch
import torch.nn.functional as F

from core.errors import DataError
from domains.music.frames import RATE
from domains.music.lrc import parse
from domains.music.metrics.calibration import METRICS, RealSong, as_record, calibrate, judge, verdicts
from domains.music.metrics.interval import Estimate
from domains.music.metrics.words import (
    Sung,
    deranged,
    line_onsets,
    per_own,
    sung_of_lyrics,
    sung_of_song,
    timing,
)
from domains.music.phones import espeak
from domains.music.recogniser import LABELS, Heard, Recogniser, RecogniserConfig
from domains.music.tagger import Tagger, TaggerConfig


def heard_of(frames: list[int]) -> Heard:
    """What a sure recogniser hears: one label a frame."""
    logits = 20.0 * F.one_hot(torch.tensor(frames), len(LABELS)).float()
    return Heard(torch.log_softmax(logits, -1))


SUNG = Sung(((0.0, (5, 6)), (0.1, (7,))))


def test_the_error_rate_adds_up_over_songs() -> None:
    right, half = heard_of([5, 5, 6, 0, 7]), heard_of([5, 5, 6, 0, 0])
    assert per_own([right], [SUNG]).value == 0
    assert per_own([right, half], [SUNG, SUNG]).value == pytest.approx(1 / 6)
    with pytest.raises(DataError, match="as many lyrics"):
        per_own([right], [SUNG, SUNG])


def test_lines_begin_where_their_first_phone_is_heard() -> None:
    heard = heard_of([0, 0, 5, 6, 6, 0, 0, 7, 7, 0])
    onsets = line_onsets(heard, SUNG)
    assert onsets == pytest.approx([2 * heard.frame_s, 7 * heard.frame_s])
    assert timing([heard], [SUNG]).value == pytest.approx(
        (2 * heard.frame_s + abs(7 * heard.frame_s - 0.1)) / 2
    )


def test_words_that_do_not_fit_count_as_missed_by_the_song() -> None:
    heard = heard_of([0, 5])
    assert timing([heard], [SUNG]).value == pytest.approx(2 * heard.frame_s)


def test_no_song_keeps_its_own_words_when_they_are_shuffled() -> None:
    songs = [Sung(((0.0, (n,)),)) for n in range(1, 8)]
    for seed in range(20):
        shuffled = deranged(songs, seed=seed)
        assert sorted(s.labels for s in shuffled) == sorted(s.labels for s in songs)
        assert all(a != b for a, b in zip(shuffled, songs, strict=True))
    with pytest.raises(DataError, match="two songs"):
        deranged(songs[:1])


def test_phones_of_a_rendered_song_go_to_the_line_they_sound_in() -> None:
    facts = {
        "lines": [{"start_s": 1.0011, "text": "see"}, {"start_s": 2.0, "text": "me"}],
        "phones": [[1.0, 1.2, "s"], [1.2, 1.9, "iː"], [1.998, 2.1, "m"], [2.1, 2.4, "iː"]],
    }
    s, i, m = (LABELS.index(x) for x in ("s", "i", "m"))
    assert sung_of_song(facts) == Sung(((1.0011, (s, i)), (2.0, (m, i))))


@pytest.mark.skipif(not espeak.available(), reason="needs the Debian package espeak-ng")
def test_lyrics_become_labels_line_by_line() -> None:
    lyrics, _ = parse("[00:01.00]See me\n[00:02.00]go\n")
    s, i, m, g, o = (LABELS.index(x) for x in ("s", "i", "m", "ɡ", "oʊ"))
    assert sung_of_lyrics(lyrics) == Sung(((1.0, (s, i, m, i)), (2.0, (g, o))))


def estimate(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, 9, 0)


def test_a_metric_whose_intervals_meet_is_not_informative() -> None:
    metric = METRICS[0]
    real = {"per_own": estimate(0.4, 0.5)}
    apart = {"real": real, "lyrics shuffled": {"per_own": estimate(0.6, 0.7)}, "noise": {}}
    assert judge(metric, apart).informative
    meeting = {"real": real, "lyrics shuffled": {"per_own": estimate(0.45, 0.7)}}
    verdict = judge(metric, meeting)
    assert not verdict.informative
    assert "lyrics shuffled" in verdict.why


def test_where_higher_is_better_the_order_turns() -> None:
    metric = next(m for m in METRICS if m.name == "style_accuracy")
    rows = {
        "real": {"style_accuracy": estimate(0.9, 1.0)},
        "style shuffled": {"style_accuracy": estimate(0, 0.2)},
    }
    assert judge(metric, rows).informative
    swapped = {"real": rows["style shuffled"], "style shuffled": rows["real"]}
    assert not judge(metric, swapped).informative


def test_a_metric_that_was_not_measured_is_not_informative() -> None:
    assert [v.why for v in verdicts({"real": {}})] == ["not measured"] * len(METRICS)


def test_networks_that_learned_nothing_are_found_out() -> None:
    gen = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    songs = [
        RealSong(
            0.1 * torch.randn(10 * RATE, generator=gen),
            Sung(((0.0, (1 + n, 2)), (2.0, (3,)))),
            {"instrument": ("piano", "organ")[n % 2], "mode": "major", "tempo": "slow", "voice": "male"},
        )
        for n in range(6)
    ]
    rows = calibrate(
        songs,
        Recogniser(RecogniserConfig(8, (1,))).eval(),
        Tagger(TaggerConfig(8, 16)).eval(),
        through_codec=lambda wave: 0.5 * wave,
    )
    assert set(rows) == {"real", "codec", "noise", "lyrics shuffled", "style shuffled"}
    assert rows["real"]["per_own"].n == 6
    # A codec that halves the level changes nothing that these networks hear.
    assert rows["codec"]["style_accuracy"] == rows["real"]["style_accuracy"]
    record = as_record(rows)
    by_name = {verdict["metric"]: verdict["informative"] for verdict in record["verdicts"]}
    assert not by_name["per_own"]
    assert not by_name["style_accuracy"]
