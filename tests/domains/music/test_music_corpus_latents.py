"""A corpus on disk becomes songs: stems side by side, lyrics on the frames of latents, tags and splits."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import CheckpointError, ConfigError, DataError
from domains.music.corpus_latents import read_songs
from domains.music.lrc import parse
from domains.music.lyrics import frame_of, line_ids
from domains.music.onsets import spread_phones
from domains.music.phones.inventory import ids_of

PHONES = [[0.5, 0.6, "s"], [0.6, 1.2, "ɪ"], [1.2, 1.3, "ŋ"], [1.3, 1.31, "s"], [1.31, 1.4, "ɪ"]]


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    """Two songs of 60 frames with the words "sing" and "sing sing"."""
    latents, songs = tmp_path / "latents", tmp_path / "songs"
    latents.mkdir()
    for name, split in (("one", "train"), ("two", "test")):
        folder = songs / name
        folder.mkdir(parents=True)
        card = {"split": split, "tags": {"instrument": "organ", "voice": "male"}, "phones": PHONES}
        (folder / "song.json").write_text(json.dumps(card), "utf-8")
        (folder / "song.lrc").write_text("[ti:A song]\n[00:00.50]sing\n[00:02.00]sing\n", "utf-8")
        stems = {stem: torch.full((3, 60), float(k)).half() for k, stem in enumerate(("voice", "backing"))}
        save_file(stems, latents / f"{name}.safetensors", {"encoder": "abc"})
    (latents / "latents.json").write_text(json.dumps({"songs": ["one", "two"]}), "utf-8")
    return latents, songs


def test_stems_lyrics_and_tags_are_read(corpus: tuple[Path, Path]) -> None:
    one, two = read_songs(*corpus, alignments=("sentence", "phone"))
    assert (one.name, one.split, two.split) == ("one", "train", "test")
    assert one.latents.shape == (6, 60)
    assert one.latents[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert one.tags == {"instrument": "organ", "voice": "male"}
    assert one.lines == (frame_of(0.5), frame_of(2.0)) == (10, 43)
    sentence, phone = one.phones
    written = line_ids("sing")
    assert sentence[10 : 10 + len(written)].tolist() == written
    # Phones at their own frames; one whose frame is taken waits for the next.
    places = {10: "s", 12: "ɪ", 25: "ŋ", 27: "s", 28: "ɪ"}
    wanted = torch.zeros(60, dtype=torch.int64)
    for place, ipa in places.items():
        wanted[place] = ids_of([ipa])[0]
    assert torch.equal(phone, wanted)


def test_splits_and_alignments_are_chosen(corpus: tuple[Path, Path]) -> None:
    only = read_songs(*corpus, splits=("test",), alignments=("none",), stems=("backing",))
    assert [song.name for song in only] == ["two"]
    assert only[0].phones.shape == (1, 60)
    assert only[0].latents.shape == (3, 60)
    default = read_songs(*corpus)[0]
    words, _ = parse((corpus[1] / "one" / "song.lrc").read_text("utf-8"))
    assert torch.equal(default.phones[0], spread_phones(words, 60))
    with pytest.raises(ConfigError, match="unknown alignment 'words'"):
        read_songs(*corpus, alignments=("words",))
    with pytest.raises(DataError, match=r"none of the 2 songs is in the splits \['validation'\]"):
        read_songs(*corpus, splits=("validation",))


def test_what_is_missing_is_named(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    latents, songs = corpus
    with pytest.raises(DataError, match="song 'one' has no latents of mix"):
        read_songs(latents, songs, stems=("mix",))
    with pytest.raises(CheckpointError, match="was made by encoder abc, expected xyz"):
        read_songs(latents, songs, digest="xyz")
    (songs / "two" / "song.lrc").unlink()
    with pytest.raises(DataError, match=r"song 'two' has latents and no song\.json or song\.lrc"):
        read_songs(latents, songs)
    with pytest.raises(DataError, match="holds no latents"):
        read_songs(tmp_path, songs)
