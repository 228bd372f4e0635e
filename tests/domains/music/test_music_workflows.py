"""Songs from requests: the same request gives the same samples, edits keep every bit, faults have names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("soundfile", reason="needs the extra 'music'")
pytest.importorskip("mutagen", reason="needs the extra 'music'")
pytest.importorskip("pyloudnorm", reason="needs the extra 'music'")
pytest.importorskip("torchaudio", reason="needs the extra 'music'")

from core.errors import CheckpointError, ConfigError, DataError, ModelMismatch, SuffuseError
from core.outlook import Outlook
from domains.music.audio import read_audio, write_audio
from domains.music.frames import FRAME_RATE, HOP, RATE
from domains.music.lrc import parse
from domains.music.plots import mel_levels, plot_curves, plot_song
from domains.music.request import SongRequest
from domains.music.sidecar import read_sidecar, sidecar_path
from domains.music.tagging import GENERATED, read_tag
from domains.music.workflows import (
    Writing,
    decode_file,
    encode_file,
    inherited,
    lyrics_text,
    reproduce_file,
    song_file,
)
from tests.domains.music.kit import make_kit

LYRICS = "[ti:Grace]\n[00:00.20][verse]\n[00:00.20]grace\n[00:01.40]amazing\n"
FADE = round(0.02 * RATE)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="module")
def song(kit: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composed song of 2.5 s in 16 bits with its stems and sidecar."""
    out = tmp_path_factory.mktemp("song") / "song.flac"
    song_file(request(kit), Writing(out))
    return out


def request(kit: Path, **changes: Any) -> SongRequest:
    asked = {"model": str(kit), "lyrics": LYRICS, "style": "piano, female", "length_s": 2.5, "device": "cpu"}
    return SongRequest(**{**asked, **changes})


def stems(out: Path) -> torch.Tensor:
    return torch.cat(
        [read_audio(out.with_name(f"{out.stem}-{n}.flac")).samples for n in ("voice", "backing")]
    )


def test_a_song_is_written_with_stems_sidecar_tag_and_picture(kit: Path, tmp_path: Path) -> None:
    told: list[Outlook] = []
    writing = Writing(tmp_path / "a.wav", depth="32f", latents=tmp_path / "a.safetensors")
    report = song_file(request(kit), writing, folder=tmp_path, ready=told.append)
    mix = read_audio(tmp_path / "a.wav")
    voice, backing = (read_audio(tmp_path / f"a-{name}.wav").samples for name in ("voice", "backing"))
    assert mix.samples.shape == (1, round(2.5 * RATE))
    assert torch.allclose(mix.samples, voice + backing, atol=1e-7)
    assert read_tag(tmp_path / "a.wav")["comment"] == GENERATED
    assert "2 lines of 'Grace'" in told[0].plan[1]
    # Two steps, each with and without what is told.
    assert (report["nfe"], report["tiles"]) == (4, 1)
    record = read_sidecar(sidecar_path(tmp_path / "a.wav"))
    for name in ("config_hash", "checkpoint_hash", "codec_hash", "samples_sha256"):
        assert len(record[name]) == 64
    assert record["request"]["lyrics"] == LYRICS
    assert record["sampling"]["steps"] == 2
    assert (tmp_path / "song.png").stat().st_size > 1000


def test_a_sidecar_gives_the_same_samples_to_the_last_bit(song: Path, tmp_path: Path) -> None:
    report = reproduce_file(sidecar_path(song), tmp_path / "again.flac")
    assert report["identical"] is True
    assert torch.equal(read_audio(tmp_path / "again.flac").samples, read_audio(song).samples)


def test_another_seed_is_another_song_and_reproduce_says_so(song: Path, tmp_path: Path) -> None:
    record = json.loads(sidecar_path(song).read_text())
    record["request"]["seed"] = 1
    other = tmp_path / "other.json"
    other.write_text(json.dumps(record))
    with pytest.raises(SuffuseError, match="the samples differ"):
        reproduce_file(other, tmp_path / "again.flac")


def test_reproduce_refuses_other_weights_and_other_files(song: Path, tmp_path: Path) -> None:
    record = json.loads(sidecar_path(song).read_text())
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({**record, "codec_hash": "0" * 64}))
    with pytest.raises(CheckpointError, match="the codec at hand is"):
        reproduce_file(changed, tmp_path / "again.flac")
    changed.write_text(json.dumps({**record, "inputs": [{"file": str(song), "sha256": "0"}]}))
    with pytest.raises(DataError, match="has changed since"):
        reproduce_file(changed, tmp_path / "again.flac")
    changed.write_text(json.dumps({**record, "request": {"sead": 1}}))
    with pytest.raises(DataError, match=r"request\.sead"):
        reproduce_file(changed, tmp_path / "again.flac")
    changed.write_text("{}")
    with pytest.raises(DataError, match="is no sidecar"):
        reproduce_file(changed, tmp_path / "again.flac")
    with pytest.raises(DataError, match="is not JSON"):
        reproduce_file(song, tmp_path / "again.flac")


def test_an_edit_keeps_every_bit_outside_its_span(kit: Path, song: Path, tmp_path: Path) -> None:
    fields, notes = inherited({"source": str(song)})
    assert notes == [f"lyrics, style, stems taken from {song.name}.json"]
    asked = request(kit, operation="edit", length_s=None, spans=((1.0, 1.5),), **fields | {"lyrics": LYRICS})
    report = song_file(asked, Writing(tmp_path / "b.flac"))
    ((start, end),) = report["hidden_s"]
    assert (start, end) == (
        pytest.approx(21 / FRAME_RATE, abs=1e-3),
        pytest.approx(33 / FRAME_RATE, abs=1e-3),
    )
    before, after = stems(song), stems(tmp_path / "b.flac")
    left, right = 21 * HOP - FADE, 33 * HOP + FADE
    assert torch.equal(before[:, :left], after[:, :left])
    assert torch.equal(before[:, right:], after[:, right:])
    assert not torch.equal(before[:, left:right], after[:, left:right])


def test_new_words_leave_the_accompaniment_alone(kit: Path, song: Path, tmp_path: Path) -> None:
    fields, _ = inherited({"source": str(song), "lyrics": "[00:00.30]blind"})
    song_file(request(kit, operation="relyric", length_s=None, **fields), Writing(tmp_path / "b.flac"))
    before, after = stems(song), stems(tmp_path / "b.flac")
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def test_an_extension_grows_by_whole_frames_and_moves_inherited_words(
    kit: Path, song: Path, tmp_path: Path
) -> None:
    fields, _ = inherited({"source": str(song)}, shift_s=1.0)
    assert [line.start_s for line in parse(fields["lyrics"])[0].lines] == pytest.approx([1.2, 2.4])
    asked = request(kit, operation="extend", length_s=None, left_s=1.0, right_s=0.5, **fields)
    song_file(asked, Writing(tmp_path / "b.flac"))
    before, after = stems(song), stems(tmp_path / "b.flac")
    left = 22 * HOP  # a second rounded up to frames
    whole = before.shape[1] // HOP * HOP
    assert after.shape[1] == left + -(-before.shape[1] // HOP) * HOP + 11 * HOP
    assert torch.equal(after[:, left + FADE : left + whole - FADE], before[:, FADE : whole - FADE])


def test_a_long_song_is_made_of_tiles_unless_that_is_refused(kit: Path, tmp_path: Path) -> None:
    told: list[Outlook] = []
    report = song_file(request(kit, length_s=5.0), Writing(tmp_path / "a.flac"), ready=told.append)
    assert "tiles that overlap by 0.7 s" in told[0].plan[0]
    assert report["tiles"] == 2
    with pytest.raises(ConfigError, match=r"song of 5\.0 s is longer than the model's canvas of 3\.0 s"):
        song_file(request(kit, length_s=5.0, tile=False), Writing(tmp_path / "b.flac"))


@pytest.mark.parametrize(
    ("lyrics", "seconds", "why"),
    [
        ("[length:01:02.50]\n[00:01.00]grace", 62.5, "as the lyrics say"),
        ("", 64 / FRAME_RATE, "one canvas of the model"),
        ("[00:10.00]grace", 10 + 5 / 6 + 3, "guessed from the last line"),
    ],
)
def test_the_length_comes_from_the_lyrics_where_it_is_not_asked(
    lyrics: str, seconds: float, why: str
) -> None:
    from domains.music.workflows.telling import length_of

    assert length_of(SongRequest(lyrics=lyrics), 64) == (pytest.approx(seconds), why)
    with pytest.raises(ConfigError, match="which is no time"):
        length_of(SongRequest(lyrics="[length:soon]"), 64)


def test_strict_lyrics_stop_the_run_and_lax_ones_are_reported(kit: Path, tmp_path: Path) -> None:
    crowded = "[00:00.00]amazing grace\n[00:00.10]grace"
    with pytest.raises(ConfigError, match=r"12 phones in 2 frames at 00:00\.00"):
        song_file(request(kit, lyrics=crowded, strict=True), Writing(tmp_path / "a.flac"))
    report = song_file(request(kit, lyrics=crowded), Writing(tmp_path / "a.flac"))
    assert [row["kind"] for row in report["lyric_problems"]] == ["density"]


def test_an_empty_lyric_is_said_aloud(kit: Path, tmp_path: Path) -> None:
    told: list[Outlook] = []
    song_file(request(kit, lyrics=""), Writing(tmp_path / "a.flac"), ready=told.append)
    assert "no lyric lines: instrumental" in told[0].plan
    assert told[0].warnings == ("lyrics: no lyric lines: the song will be instrumental",)


@pytest.mark.parametrize(
    ("change", "error", "cause"),
    [
        ({"style": "pianoo"}, ConfigError, "unknown style tag 'pianoo'"),
        ({"lyrics": "[00:00.10]你好"}, DataError, "no phone rules for 你 好"),
        ({"operation": "edit", "source": "absent.wav", "spans": ((0, 1),)}, DataError, "no such sound file"),
        ({"operation": "edit"}, ConfigError, "no recording to edit"),
        ({"operation": "edit", "voice": "a.wav"}, ConfigError, "one stem alone"),
        ({"section_styles": {"verse": "pianoo"}}, ConfigError, "pianoo"),
        ({"section_styles": {"vers": "piano"}}, ConfigError, "unknown section 'vers'"),
        ({"section_styles": {"verse": "organ"}, "lyrics": "[00:00.10]grace"}, DataError, "need sections"),
        ({"style_audio": "a.wav"}, DataError, "no such sound file"),
        ({"sampling": {"steps": 0}}, ConfigError, "steps=0"),
    ],
)
def test_requests_that_cannot_be_are_refused_by_name(
    kit: Path, tmp_path: Path, change: dict[str, Any], error: type[SuffuseError], cause: str
) -> None:
    with pytest.raises(error, match=cause):
        song_file(request(kit, **change), Writing(tmp_path / "a.flac"))
    assert list(tmp_path.iterdir()) == []


def test_styles_change_with_the_sections(kit: Path, tmp_path: Path) -> None:
    one, two = Writing(tmp_path / "a.flac"), Writing(tmp_path / "b.flac")
    first = song_file(request(kit), one)
    second = song_file(request(kit, section_styles={"verse": "organ"}), two)
    assert first["samples_sha256"] != second["samples_sha256"]


def test_a_codec_of_another_kind_is_refused_with_the_fields(kit: Path, tmp_path: Path) -> None:
    from core.process import RectifiedFlow, to_record
    from core.train import Checkpoint
    from domains.music.codec import SpecVAE, SpecVAEConfig, save_codec

    small = SpecVAE(SpecVAEConfig(channels=3, fast=12, slow=16, encoder=(1, 1), decoder=(1, 1)))
    save_codec(tmp_path / "c.safetensors", small, Checkpoint({}, to_record(RectifiedFlow()), "flow", 1.0))
    with pytest.raises(ModelMismatch, match=r"channels 3 \(the model has 4\)"):
        song_file(request(kit, codec=str(tmp_path / "c.safetensors")), Writing(tmp_path / "a.flac"))


def test_recordings_of_another_rate_are_resampled_and_said(kit: Path, tmp_path: Path) -> None:
    x = 0.3 * torch.sin(torch.arange(2 * 44100) / 30).expand(2, -1)
    write_audio(tmp_path / "in.wav", x, 44100)
    asked = request(kit, operation="variation", length_s=None, source=str(tmp_path / "in.wav"))
    told: list[Outlook] = []
    song_file(asked, Writing(tmp_path / "a.flac"), ready=told.append)
    assert any(
        "is 44100 Hz with 2 channels; the model works at 22050 Hz mono" in line for line in told[0].plan
    )


def test_doubts_about_a_recording_are_warnings_and_come_before_the_work(kit: Path, tmp_path: Path) -> None:
    import soundfile

    x = torch.sin(2 * torch.pi * 300 * torch.arange(2 * RATE) / RATE)
    soundfile.write(tmp_path / "in.wav", (3 * x).clamp(-1, 1).numpy(), RATE)
    asked = request(kit, operation="variation", lyrics="", length_s=None, source=str(tmp_path / "in.wav"))
    told: list[Outlook] = []
    song_file(asked, Writing(tmp_path / "a.flac"), ready=told.append)
    assert any("in.wav clips: " in line for line in told[0].warnings)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"operation": "loop", "seam_s": 2.0}, r"a seam of 2 s does not fit a song of 2\.50 s"),
        ({"operation": "relyric", "spans": ((2.0, 1.0),)}, "the span 2 to 1 s is empty or reversed"),
        ({"operation": "accompany", "spans": ((0.0, 9.0),)}, "lies outside the song"),
        ({"operation": "edit", "spans": ()}, "at least one span"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_before_the_plan(
    kit: Path, song: Path, tmp_path: Path, change: dict[str, Any], cause: str
) -> None:
    told: list[Outlook] = []
    asked = request(kit, length_s=None, source=str(song), **change)
    with pytest.raises(ConfigError, match=cause):
        song_file(asked, Writing(tmp_path / "a.flac"), ready=told.append)
    assert told == []


def test_encoding_and_decoding_keep_the_length(kit: Path, song: Path, tmp_path: Path) -> None:
    encode_file(song, tmp_path / "a.safetensors", codec=str(kit))
    report = decode_file(tmp_path / "a.safetensors", tmp_path / "a.wav", codec=str(kit))
    assert read_audio(tmp_path / "a.wav").samples.shape[-1] == read_audio(song).samples.shape[-1]
    assert report["seconds"] == 2.5
    with pytest.raises(DataError, match="is no file of latents"):
        decode_file(song, tmp_path / "b.wav", codec=str(kit))


def test_lyrics_come_from_a_file_or_a_hymn(tmp_path: Path) -> None:
    (tmp_path / "a.lrc").write_text(LYRICS)
    assert lyrics_text(tmp_path / "a.lrc") == LYRICS
    assert "wretch" in lyrics_text(None, "amazing-grace")
    with pytest.raises(ConfigError, match="unknown hymn"):
        lyrics_text(None, "amazing-grac")
    with pytest.raises(ConfigError, match="both given"):
        lyrics_text(tmp_path / "a.lrc", "amazing-grace")


def test_a_picture_shows_a_tone_at_its_frequency(tmp_path: Path) -> None:
    x = torch.sin(2 * torch.pi * 1000 * torch.arange(2 * RATE) / RATE)
    levels, centres, step = mel_levels(x, RATE)
    assert abs(centres[levels.mean(1).argmax()] / 1000 - 1) < 0.03  # bands near 1 kHz lie 4 % apart
    assert levels.max() == 0
    assert step * levels.shape[1] == pytest.approx(2, abs=2 * step)
    picture, table = plot_song(x, RATE, tmp_path / "a.png", lyrics=parse(LYRICS)[0], spans=[(0.5, 1.0)])
    rows = table.read_text().splitlines()
    assert (len(rows) - 1, rows[0].split(",")[0]) == (levels.shape[1], "start_s")
    plot_curves({"asked": ([0, 1], [2, 3])}, tmp_path / "b.png", x="time, s", y="level, dB")
    assert (tmp_path / "b.csv").read_text().splitlines() == [
        'curve,"time, s","level, dB"',
        "asked,0,2",
        "asked,1,3",
    ]
    assert picture.stat().st_size > 1000
