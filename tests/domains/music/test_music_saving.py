"""How loud a song is written: one gain for song and stems where a peak needs it, none where bits are kept."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("soundfile", reason="needs the extra 'music'")
pytest.importorskip("mutagen", reason="needs the extra 'music'")
pytest.importorskip("pyloudnorm", reason="needs the extra 'music'")
pytest.importorskip("torchaudio", reason="needs the extra 'music'")

from domains.music.audio import read_audio
from domains.music.config import Sampling
from domains.music.frames import RATE
from domains.music.lrc.events import Lyrics
from domains.music.request import SongRequest
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.workflows import Writing
from domains.music.workflows.opening import Opened, open_song
from domains.music.workflows.saving import Made, save_song
from tests.domains.music.kit import make_kit

STEP = 2**-15  # of 16 bits


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_song(str(make_kit(tmp_path_factory.mktemp("kit"))))


def tone(level: float, hz: float = 440.0) -> Tensor:
    return level * torch.sin(2 * math.pi * hz * torch.arange(RATE) / RATE)


def saved(opened: Opened, writing: Writing, wave: Tensor, *, scaled: bool = True) -> dict[str, float]:
    made = Made(wave, torch.zeros(1, 8, 22), 4, 1, 0.1, Lyrics(), scaled=scaled)
    return save_song(made, opened, SongRequest(), Sampling(), writing, None)


def files(out: Path) -> list[Tensor]:
    names = (out, *(out.with_name(f"{out.stem}-{name}{out.suffix}") for name in ("voice", "backing")))
    return [read_audio(name).samples[0] for name in names]


def test_a_loud_song_is_lowered_as_one_and_its_stems_still_add_up(opened: Opened, tmp_path: Path) -> None:
    report = saved(opened, Writing(tmp_path / "a.flac"), torch.stack([tone(0.9), tone(0.6)]))
    # The peaks coincide: 1.5 is 3.52 dB above full scale, and 4.52 above the ceiling.
    assert report["gain_db"] == pytest.approx(-4.52, abs=0.02)
    mix, voice, backing = files(tmp_path / "a.flac")
    assert float(mix.abs().max()) == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    assert torch.allclose(mix, voice + backing, atol=2 * STEP)
    assert torch.allclose(voice, 1.5 * backing, atol=2 * STEP)
    record = read_sidecar(sidecar_path(tmp_path / "a.flac"))
    assert record["gain_db"] == report["gain_db"]
    assert 20 * math.log10(record["gain"]) == pytest.approx(report["gain_db"], abs=1e-3)
    assert any(
        "lowered by 4.52 dB, song and stems: a true peak was +3.52 dB, at " in line
        for line in record["warnings"]
    )
    assert not any("were cut" in line for line in record["warnings"])


def test_a_stem_that_is_louder_than_the_song_decides(opened: Opened, tmp_path: Path) -> None:
    # The stems cancel: the song's peak of 0.1 needs no gain, and without one both stems would be cut.
    report = saved(opened, Writing(tmp_path / "a.flac"), torch.stack([tone(1.5), tone(-1.4)]))
    assert report["gain_db"] == pytest.approx(-4.52, abs=0.02)
    mix, voice, backing = files(tmp_path / "a.flac")
    assert torch.allclose(mix, voice + backing, atol=2 * STEP)
    # A song that is written alone keeps its level.
    alone = saved(opened, Writing(tmp_path / "b.flac", stems=False), torch.stack([tone(1.5), tone(-1.4)]))
    assert alone["gain_db"] == 0


def test_a_song_below_the_ceiling_keeps_every_bit(opened: Opened, tmp_path: Path) -> None:
    wave = torch.stack([tone(0.4), tone(0.3, 300.0)])
    report = saved(opened, Writing(tmp_path / "a.wav", depth="32f"), wave)
    assert report["gain_db"] == 0
    assert torch.equal(read_audio(tmp_path / "a-voice.wav").samples[0], wave[0])


def test_an_edit_that_keeps_samples_keeps_its_level_and_says_so(opened: Opened, tmp_path: Path) -> None:
    wave = torch.stack([tone(0.9), tone(0.6)])
    report = saved(opened, Writing(tmp_path / "a.wav", depth="32f"), wave, scaled=False)
    assert report["gain_db"] == 0
    assert any("a true peak is +3.52 dB; the level is left" in line for line in report["warnings"])
    assert torch.equal(read_audio(tmp_path / "a.wav").samples[0], wave.sum(0))


def test_a_loudness_that_is_asked_for_is_the_gain(opened: Opened, tmp_path: Path) -> None:
    wave = torch.stack([tone(0.05), tone(0.05)])
    report = saved(opened, Writing(tmp_path / "a.wav", depth="32f", lufs=-20.0), wave)
    assert read_audio(tmp_path / "a.wav").samples.abs().max() == pytest.approx(
        0.1 * 10 ** (report["gain_db"] / 20), rel=1e-3
    )
    assert report["files"][0]["loudness_lufs"] == pytest.approx(-20, abs=0.1)
    # The gain of a sidecar is taken as it stands.
    again = saved(
        opened, Writing(tmp_path / "b.wav", depth="32f", gain=0.5), torch.stack([tone(0.9), tone(0.9)])
    )
    assert again["gain_db"] == pytest.approx(-6.021, abs=1e-3)
