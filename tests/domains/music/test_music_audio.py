"""Sound files: exact round trips, levels with known answers, and one named cause for every fault."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("soundfile", reason="needs the extra 'music'")
pytest.importorskip("mutagen", reason="needs the extra 'music'")
pytest.importorskip("pyloudnorm", reason="needs the extra 'music'")
pytest.importorskip("torchaudio", reason="needs the extra 'music'")

import soundfile

from core.errors import ConfigError, DataError
from domains.music.audio import DEPTHS, FORMATS, Wave, check_samples, read_audio, resample, write_audio
from domains.music.frames import RATE
from domains.music.loudness import integrated_lufs, level_of, normalise, true_peak
from domains.music.tagging import GENERATED, read_tag


def tone(f_hz: float = 1000.0, *, peak: float = 0.5, seconds: float = 1.0, rate: int = RATE) -> torch.Tensor:
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (peak * torch.sin(2 * math.pi * f_hz * t))[None].float()


def chirp(seconds: float = 2.0, channels: int = 1) -> torch.Tensor:
    t = torch.arange(round(seconds * RATE)) / RATE
    return (0.3 * torch.sin(2 * math.pi * (200 + 400 * t) * t)).expand(channels, -1).contiguous()


def lag(found: torch.Tensor, true: torch.Tensor) -> int:
    """Samples by which `found` trails `true`, by cross-correlation."""
    n = 2 * true.shape[-1]
    product = torch.fft.rfft(found, n) * torch.fft.rfft(true, n).conj()
    at = int(torch.fft.irfft(product, n).argmax())
    return at - n if at > n // 2 else at


@pytest.mark.parametrize(("name", "depth", "step"), [("a.wav", "16", 2**-15), ("a.wav", "24", 2**-23)])
def test_integer_files_round_to_half_a_step(tmp_path: Path, name: str, depth: str, step: float) -> None:
    x = chirp(channels=2)
    write_audio(tmp_path / name, x, RATE, depth=depth)
    assert float((read_audio(tmp_path / name).samples - x).abs().max()) <= step


def test_float_files_return_every_bit_even_beyond_full_scale(tmp_path: Path) -> None:
    x = 3 * chirp()
    saved = write_audio(tmp_path / "a.wav", x, RATE, depth="32f")
    assert torch.equal(read_audio(tmp_path / "a.wav").samples, x)
    assert saved.clipped == 0
    assert saved.level.clipped == int((x.abs() > 1).sum())


def test_flac_of_both_depths_is_lossless_after_rounding(tmp_path: Path) -> None:
    x = (chirp() * 2**15).round() / 2**15
    for depth in DEPTHS[".flac"]:
        write_audio(tmp_path / f"{depth}.flac", x, RATE, depth=depth)
        assert torch.equal(read_audio(tmp_path / f"{depth}.flac").samples, x)


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("suffix", [".mp3", ".ogg"])
def test_lossy_files_come_back_with_the_same_length_and_no_delay(
    tmp_path: Path, suffix: str, rate: int
) -> None:
    x = torch.cat([torch.zeros(1, 5000), chirp(), torch.zeros(1, 777)], -1)
    write_audio(tmp_path / f"a{suffix}", x, rate)
    y = read_audio(tmp_path / f"a{suffix}").samples
    assert y.shape == x.shape
    assert lag(y[0], x[0]) == 0
    assert lag(torch.roll(y[0], 3), x[0]) == 3  # the measure sees a delay where there is one


def test_an_mp3_of_lower_quality_made_elsewhere_has_no_delay_either(tmp_path: Path) -> None:
    x = chirp()
    for level in (0.0, 0.5, 0.99):
        path = tmp_path / f"{level}.mp3"
        soundfile.write(
            path, x[0].numpy(), RATE, format="MP3", compression_level=level, bitrate_mode="VARIABLE"
        )
        y = read_audio(path).samples
        assert y.shape == x.shape
        assert lag(y[0], x[0]) == 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_says_that_it_was_generated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_audio(path, chirp(), RATE, tag={"seed": "7", "checkpoint": "abc"})
    tag = read_tag(path)
    assert tag == {"comment": GENERATED, "generator": "suffuse", "seed": "7", "checkpoint": "abc"}
    soundfile.write(tmp_path / f"b{suffix}", chirp()[0].numpy(), RATE)
    assert read_tag(tmp_path / f"b{suffix}") == {}


def test_a_full_scale_sine_has_the_loudness_of_the_recommendation() -> None:
    """BS.1770-4: 0 dBFS at 997 Hz in one channel reads -3.01 LUFS; meters may differ by 0.1 (EBU 3341)."""
    found = integrated_lufs(tone(997, peak=1.0, seconds=3, rate=48000), 48000)
    assert found == pytest.approx(-3.01, abs=0.1)


def test_true_peak_finds_what_lies_between_the_samples() -> None:
    """A sine at a quarter of the rate, sampled 45 degrees off its crests, shows 0.707 of its peak."""
    n = torch.arange(4000, dtype=torch.float64)
    x = torch.sin(math.pi / 2 * n + math.pi / 4)[None].float()
    assert float(x.abs().max()) == pytest.approx(math.sqrt(0.5), abs=1e-5)
    inside = x * torch.hann_window(4000)  # no step at the ends, which would ring
    assert true_peak(inside) == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("gain", [0.01, 0.3])
def test_normalising_reaches_the_loudness(tmp_path: Path, gain: float) -> None:
    saved = write_audio(tmp_path / "a.wav", gain * chirp(), RATE, lufs=-14.0, depth="24")
    assert saved.level.lufs == pytest.approx(-14, abs=0.02)
    assert saved.notes == ()


def test_normalising_stops_at_the_ceiling_and_says_so() -> None:
    x = 0.01 * chirp()
    x[0, 20000] = 0.9
    y, note = normalise(x, RATE)
    assert true_peak(y) == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    assert note is not None
    assert "not the -14 asked for" in note


def test_a_click_has_no_loudness_to_normalise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.10 s has no measurable loudness"):
        write_audio(tmp_path / "a.wav", chirp(0.1), RATE, lufs=-14.0)


def test_clipping_is_counted_and_said(tmp_path: Path) -> None:
    x = tone(peak=1.5)
    saved = write_audio(tmp_path / "a.wav", x, RATE)
    assert saved.clipped == int((x.abs() > 1).sum()) > 0
    assert any(f"{saved.clipped} of {x.numel()} samples were beyond full scale" in n for n in saved.notes)
    assert any("full scale" in line for line in read_audio(tmp_path / "a.wav").warnings)


def test_the_level_is_that_of_the_file_read_again(tmp_path: Path) -> None:
    saved = write_audio(tmp_path / "a.mp3", chirp(), RATE)
    assert saved.level == level_of(read_audio(tmp_path / "a.mp3").samples, RATE)


def test_resampling_keeps_a_tone(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", tone(440, rate=44100), 44100, depth="32f")
    wave = read_audio(tmp_path / "a.wav", RATE)
    inner = slice(1000, -1000)
    assert wave.samples.shape == (1, RATE)
    assert float((wave.samples - tone(440))[:, inner].abs().max()) < 1e-3
    assert resample(wave.samples, RATE, RATE) is wave.samples


def test_channels_are_averaged_or_doubled(tmp_path: Path) -> None:
    left, right = tone(300), tone(500)
    write_audio(tmp_path / "a.wav", torch.cat([left, right]), RATE, depth="32f")
    assert torch.allclose(read_audio(tmp_path / "a.wav", channels=1).samples, (left + right) / 2, atol=1e-7)
    write_audio(tmp_path / "b.wav", left, RATE, depth="32f")
    assert torch.equal(read_audio(tmp_path / "b.wav", channels=2).samples, left.expand(2, -1))


def save(path: Path, x: np.ndarray) -> Path:
    soundfile.write(path, x, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        (np.zeros((0,)), "holds no samples: its length is zero"),
        (np.zeros(1000), "is silent throughout"),
        (np.full(1000, 0.25), r"is a constant of 0\.250 \(DC\)"),
        (
            np.where(np.arange(1000) == 441, np.nan, 0.1),
            r"NaN or infinite values at 1 of 1000 .* at 0\.020 s",
        ),
        (np.where(np.arange(1000) > 997, np.inf, 0.1), "NaN or infinite values at 2 of 1000"),
        (np.random.default_rng(0).normal(size=(100, 3)), "has 3 channels, expected 1 or 2"),
    ],
)
def test_sound_that_is_none_is_refused_by_its_cause(tmp_path: Path, values: np.ndarray, cause: str) -> None:
    path = save(tmp_path / "bad.wav", values)
    with pytest.raises(DataError, match=cause) as caught:
        read_audio(path)
    assert "bad.wav" in str(caught.value)


def test_channels_that_cancel_are_refused_when_mixed(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", torch.cat([tone(), -tone()]), RATE, depth="32f")
    with pytest.raises(DataError, match="silent throughout"):
        read_audio(tmp_path / "a.wav", channels=1)


def test_an_offset_is_kept_and_warned_about() -> None:
    wave = check_samples(Wave(tone(peak=0.3) + 0.1, RATE, "x.wav"))
    assert wave.warnings == ("x.wav has a constant offset (DC) of 0.100; it is kept.",)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"", "is empty: it has no bytes"), (b"this is text, not sound\n" * 50, "cannot be read as sound")],
)
def test_files_that_are_no_sound_are_refused(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=cause):
        read_audio(path)
    with pytest.raises(DataError, match="no such sound file"):
        read_audio(tmp_path / "absent.wav")


def test_a_cut_mp3_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x00\x00" + bytes(40))
    with pytest.raises(DataError, match=r"a\.mp3"):
        read_audio(tmp_path / "a.mp3")


def test_nothing_is_overwritten_and_no_odd_type_is_written(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", chirp(), RATE)
    with pytest.raises(ConfigError, match="exists"):
        write_audio(tmp_path / "a.wav", chirp(), RATE)
    with pytest.raises(ConfigError, match="unknown output type"):
        write_audio(tmp_path / "a.aac", chirp(), RATE)
    with pytest.raises(ConfigError, match=r"\.flac has 16, 24; got '32f'"):
        write_audio(tmp_path / "a.flac", chirp(), RATE, depth="32f")
    with pytest.raises(ConfigError, match=r"\.mp3 is lossy"):
        write_audio(tmp_path / "a.mp3", chirp(), RATE, depth="16")
    with pytest.raises(DataError, match="NaN"):
        write_audio(tmp_path / "c.wav", chirp() * math.nan, RATE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav"]


def test_real_songs_are_read(real_data) -> None:
    folder = real_data("music/audio")
    wave = read_audio(folder / "sorohanro_-_solo-trumpet-06.ogg")
    assert (wave.rate, wave.channels) == (44100, 2)
    assert wave.seconds == pytest.approx(5.3, abs=0.1)
    speech = read_audio(folder / "librispeech_198-209-0000.ogg", RATE, channels=1)
    assert speech.seconds == pytest.approx(13.9, abs=0.1)
