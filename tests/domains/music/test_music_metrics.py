"""Metrics of songs where the answer is known: closed forms, counted cases, enumeration."""

import math

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError
from domains.music.frames import RATE
from domains.music.mel import BANDS
from domains.music.metrics import memory, reconstruction, steadiness
from domains.music.metrics.beats import (
    beat_f,
    beat_rows,
    beat_scores,
    estimate_tempo,
    onset_strength,
    track_beats,
)
from domains.music.metrics.frechet import clips, frechet_limit, frechet_of
from domains.music.metrics.interval import bootstrap, ratio
from domains.music.metrics.memory import Nearest, chroma_match, flagged, nearest
from domains.music.metrics.reconstruction import log_spectral_distance, mel_cepstral_distortion, si_sdr
from domains.music.metrics.speed import measure_cost
from domains.music.metrics.steadiness import chroma, estimate_key, in_key_share, seam, tempo_spread


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(f0_hz: float, seconds: float) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * f0_hz * torch.arange(round(seconds * RATE)) / RATE)


def clicks(bpm: float, seconds: float) -> torch.Tensor:
    """Short bursts of noise on every beat, from 0.5 s."""
    wave = 1e-4 * torch.randn(round(seconds * RATE), generator=gen())
    burst = torch.randn(600, generator=gen(1)) * torch.linspace(1, 0, 600)
    at = 0.5
    while at < seconds - 0.1:
        start = round(at * RATE)
        wave[start : start + 600] += burst
        at += 60 / bpm
    return wave


# Intervals


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = bootstrap([2.0] * 5)
    assert (found.value, found.low, found.high, found.n) == (2.0, 2.0, 2.0, 5)


def test_the_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = np.random.default_rng(0).normal(size=400).tolist()
    found = bootstrap(values, draws=2000)
    # The half-width is 1.96 sd / sqrt(400); quantiles of 2000 draws err by about 4 %.
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(values) / 20, rel=0.12)


def test_a_rate_is_that_of_the_sums_not_the_mean_of_rates() -> None:
    found = ratio([1, 9], [1, 18])
    assert found.value == pytest.approx(10 / 19)
    assert found.value != pytest.approx((1 / 1 + 9 / 18) / 2)


def test_no_values_give_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least one item"):
        bootstrap([])


# Frechet distances


def test_the_limit_removes_what_finite_samples_add() -> None:
    x, y = torch.randn(240, 16, generator=gen(0)), torch.randn(240, 16, generator=gen(1))
    found = frechet_of(x, y, draws=20)
    # Two samples of one law: the distance of laws is 0. The measured one is about d^2 / (2 n) = 0.5.
    assert found.measured.value > 0.3
    assert abs(found.limit) < 0.25 * found.measured.value


def test_the_limit_keeps_the_distance_of_the_laws() -> None:
    x, y = torch.randn(300, 8, generator=gen(0)), torch.randn(300, 8, generator=gen(1)) + 1.0
    # |m|^2 = 8; its standard error is 2 |m| sqrt(2 / 300) = 0.46.
    assert frechet_limit(x, y) == pytest.approx(8.0, abs=1.2)


def test_the_interval_of_a_distance_contains_it() -> None:
    x, y = torch.randn(60, 4, generator=gen(0)), torch.randn(60, 4, generator=gen(1))
    found = frechet_of(x, y).measured
    assert found.low < found.value < found.high


def test_a_limit_of_a_handful_of_clips_is_refused() -> None:
    with pytest.raises(ConfigError, match="6 clips"):
        frechet_limit(torch.randn(3, 2), torch.randn(9, 2))


def test_clips_are_eight_seconds_every_four() -> None:
    pieces = clips(torch.zeros(round(17 * RATE)), RATE)
    assert [len(piece) / RATE for piece in pieces] == [8.0, 8.0, 8.0]
    assert len(clips(torch.zeros(RATE), RATE)) == 1


# Beats


def test_beats_are_matched_once_within_the_tolerance() -> None:
    reference = np.array([1.0, 2.0, 3.0, 4.0])
    found = np.array([1.05, 1.06, 2.2, 2.95])
    # 1.05 and 2.95 match; 1.06 finds its beat taken, 2.2 none.
    assert beat_f(found, reference) == pytest.approx(2 * 2 / 8)
    assert beat_f(reference, reference) == 1.0
    assert beat_f(np.zeros(0), reference) == 0.0


def test_coverage_may_exceed_one_and_hit_may_not() -> None:
    scores = beat_scores(np.array([0.2, 0.8, 1.5, 2.5, 3.5]), np.array([0.5, 1.5, 5.5]))
    assert scores.coverage == pytest.approx(4 / 3)
    assert scores.hit == pytest.approx(2 / 3)


def test_beats_in_excess_count_like_beats_that_lack() -> None:
    every, other = np.arange(0.5, 8), np.arange(0.5, 8, 2)
    rows = beat_rows([every, other, every], [other, every, every])
    assert rows["beat_coverage"].value == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert rows["beat_hit"].value == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert rows["beat_coverage"].n == 3
    assert beat_rows([np.zeros(0)], [every])["beat_coverage"].value == 0


@pytest.mark.parametrize("bpm", [72.0, 100.0, 130.0])
def test_clicks_give_their_tempo_and_their_beats(bpm: float) -> None:
    wave = clicks(bpm, 12)
    assert estimate_tempo(onset_strength(wave, RATE)) == pytest.approx(bpm, rel=0.02)
    wanted = np.arange(0.5, 11.9, 60 / bpm)
    assert beat_f(track_beats(wave, RATE), wanted) > 0.9


def test_a_steady_tempo_spreads_less_than_one_that_changes() -> None:
    steady = clicks(100, 24)
    moved = torch.cat([clicks(100, 12), clicks(125, 12)])
    assert tempo_spread(steady, RATE) < 0.02
    assert tempo_spread(moved, RATE) > 0.05
    with pytest.raises(DataError, match="15 s"):
        tempo_spread(steady[: 12 * RATE], RATE)


# Reconstruction


def test_si_sdr_is_the_ratio_of_powers_and_ignores_the_level() -> None:
    x = tone(440, 1.0)
    noise = tone(880, 1.0) * 0.1
    noise = noise - (noise @ x) / (x @ x) * x
    want = 10 * math.log10(float(x.square().sum() / noise.square().sum()))
    assert si_sdr(x + noise, x) == pytest.approx(want, abs=1e-3)
    assert si_sdr(3 * (x + noise), x) == pytest.approx(want, abs=1e-3)
    assert si_sdr(2 * x, x) > 100
    # The wrong variant, without the projection, depends on the level.
    plain = 10 * math.log10(float(x.square().sum() / (3 * (x + noise) - x).square().sum()))
    assert abs(plain - want) > 10


def test_twice_the_level_is_six_decibels_of_log_spectrum() -> None:
    x = torch.randn(RATE, generator=gen())
    assert log_spectral_distance(2 * x, x) == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert log_spectral_distance(x, x) == 0


def test_a_cosine_of_log_mel_is_one_cepstral_coefficient(monkeypatch: pytest.MonkeyPatch) -> None:
    k, size = 3, 0.7
    basis = torch.cos(math.pi * k * (torch.arange(BANDS) + 0.5) / BANDS)
    pair = {1.0: torch.zeros(BANDS, 5), 2.0: (2 * size * basis)[:, None].expand(BANDS, 5) + 4.0}
    monkeypatch.setattr(reconstruction, "log_mel", lambda wave: pair[float(wave[0])])
    # Log magnitude size cos(k ..) is c_k = size under sum_k c_k cos; the constant is c_0, left out.
    want = 10 / math.log(10) * math.sqrt(2) * size
    assert mel_cepstral_distortion(torch.tensor([2.0]), torch.tensor([1.0])) == pytest.approx(want, rel=1e-5)


def test_a_copy_reconstructs_perfectly_and_another_length_is_refused() -> None:
    wave = torch.randn(2 * RATE, generator=gen()) * 0.1
    found = reconstruction.reconstruction(wave, wave, RATE, stoi=False)
    assert (found.mr_stft, found.lsd_db, found.mcd_db, found.stoi) == (0, 0, 0, None)
    with pytest.raises(DataError, match="as long as the original"):
        reconstruction.reconstruction(wave[:-1], wave, RATE)


@pytest.mark.slow  # pystoi takes seconds to import
def test_a_copy_is_fully_intelligible_and_noise_is_not() -> None:
    pytest.importorskip("pystoi", reason="'pystoi' is not installed (extra 'music')")
    wave = torch.randn(2 * RATE, generator=gen()) * torch.linspace(0, 1, 2 * RATE).sin().abs()
    assert reconstruction.reconstruction(wave, wave, RATE).stoi == pytest.approx(1.0, abs=1e-6)
    other = reconstruction.reconstruction(torch.randn(2 * RATE, generator=gen(1)), wave, RATE)
    assert (other.stoi or 0.0) < 0.5


# Steadiness


def test_a_seam_of_steady_noise_is_one_and_a_splice_stands_out() -> None:
    noise = 0.1 * torch.randn(6 * RATE, generator=gen())
    assert seam(noise, RATE, [3.0])[0] == pytest.approx(1.0, abs=0.5)
    spliced = torch.cat([noise[: 3 * RATE], tone(300, 3.0)])
    assert seam(spliced, RATE, [3.0])[0] > 5
    with pytest.raises(DataError, match="edge of the song"):
        seam(noise, RATE, [5.99])


@pytest.mark.parametrize("pitch", [57, 60, 66])
def test_a_tone_has_the_chroma_of_its_pitch_class(pitch: int) -> None:
    energy = chroma(tone(440 * 2 ** ((pitch - 69) / 12), 2.0), RATE).mean(axis=1)
    assert int(energy.argmax()) == pitch % 12
    assert energy.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("tonic", "mode"), [(0, "major"), (7, "major"), (9, "minor")])
def test_a_key_profile_is_recognised_as_its_key(tonic: int, mode: str) -> None:
    weights = steadiness.MAJOR if mode == "major" else steadiness.MINOR
    assert estimate_key(np.roll(weights, tonic)) == (tonic, mode)


def test_a_scale_is_in_key_and_all_twelve_notes_are_at_chance() -> None:
    scale = torch.cat(
        [tone(440 * 2 ** ((60 + p - 69) / 12), 0.6) for p in (0, 4, 7, 0, 2, 4, 5, 7, 9, 11, 0)]
    )
    every = torch.cat([tone(440 * 2 ** ((60 + p - 69) / 12), 0.6) for p in range(12)])
    # Windows of 186 ms smear a tone over its neighbours, which the square root makes audible.
    assert in_key_share(scale, RATE) > 0.72
    assert in_key_share(every, RATE) == pytest.approx(7 / 12, abs=0.08)


# Memory


def brute_match(a: np.ndarray, b: np.ndarray, overlap: float) -> float:
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    least = max(1, round(overlap * min(x.shape[1], y.shape[1])))
    best = -1.0
    for steps in range(12):
        rolled = np.roll(y, steps, axis=0)
        for shift in range(-y.shape[1] + 1, x.shape[1]):
            low, high = max(0, shift), min(x.shape[1], shift + y.shape[1])
            if high - low < least:
                continue
            u, v = x[:, low:high], rolled[:, low - shift : high - shift]
            best = max(best, float((u * v).sum() / np.sqrt((u**2).sum() * (v**2).sum())))
    return best


def test_the_chroma_match_is_that_of_enumeration() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((12, 9)), rng.random((12, 6))
    assert chroma_match(a, b) == pytest.approx(brute_match(a, b, 0.5), abs=1e-9)


def test_a_transposed_and_shifted_copy_matches_fully() -> None:
    a = np.random.default_rng(1).random((12, 30))
    assert chroma_match(a, np.roll(a[:, 5:25], 4, axis=0)) == pytest.approx(1.0, abs=1e-9)


def test_a_copy_is_flagged_and_a_stranger_is_not() -> None:
    rng = np.random.default_rng(0)
    others = torch.randn(5, 8, generator=gen())
    chords = [rng.random((12, 20)) for _ in range(5)]
    copy = nearest(others[3], chords[3], others, chords)
    assert (copy.style_index, copy.chroma_index) == (3, 3)
    real = [Nearest(0, 0.6, 0, 0.7)]
    assert flagged([copy, Nearest(0, 0.5, 0, 0.5)], real) == [True, False]
    assert memory.flagged(real, real) == [False]


# Cost


def test_the_cost_counts_calls_and_divides_by_the_audio() -> None:
    runs = []

    def make() -> int:
        runs.append(1)
        return 7

    cost = measure_cost(make, 10.0, runs=2)
    assert len(runs) == 3  # one to warm up
    assert cost.evaluations == 7
    assert cost.rtf < 0.1
    assert "CPU" in cost.device
    with pytest.raises(ConfigError, match="runs"):
        measure_cost(make, 0.0)
