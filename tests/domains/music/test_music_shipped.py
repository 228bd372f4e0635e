"""The song model and the student that ship: small, whole, of one codec, drawn in the calls they promise."""

import json

import pytest
import torch

from domains.music.generation import calls_of, compose, condition
from domains.music.model import SongModel, load_model
from domains.music.weights import shipped

pytestmark = pytest.mark.skipif(
    not all((shipped(name) / "model.safetensors").is_file() for name in ("song", "student")),
    reason="the song model and its student are not installed",
)


@pytest.fixture(scope="module")
def song() -> SongModel:
    return load_model(shipped("song"))


@pytest.fixture(scope="module")
def student() -> SongModel:
    return load_model(shipped("student"))


def test_both_are_small_and_say_how_they_were_made(song: SongModel, student: SongModel) -> None:
    for name, model in (("song", song), ("student", student)):
        assert (shipped(name) / "model.safetensors").stat().st_size < 7 * 2**20
        card = json.loads((shipped(name) / "card.json").read_text("utf-8"))
        assert card["training"]["song"]["vocabulary"].keys() == {"instrument", "mode", "tempo", "voice"}
        assert card["training"]["steps"] > 100
        assert model.channels == 2 * model.config.channels
    assert student.student
    assert not song.student
    assert student.vocabulary == song.vocabulary
    assert (student.rate, student.hop, student.channels) == (song.rate, song.hop, song.channels)


def test_they_take_the_calls_they_promise(song: SongModel, student: SongModel) -> None:
    assert calls_of(song, song.config.sampling) == 62
    assert calls_of(student, student.config.sampling) == 4
    cond = condition(student, 64, style=student.tags.text("piano, slow, female"))
    made = compose(student, cond, 64, torch.Generator().manual_seed(0))
    assert made.calls == 4
    assert bool(made.latents.isfinite().all())


def test_another_style_of_the_same_seed_is_another_song(student: SongModel) -> None:
    drawn = [
        compose(
            student,
            condition(student, 64, style=student.tags.text(words)),
            64,
            torch.Generator().manual_seed(0),
        ).latents
        for words in ("piano, slow, female", "piano, slow, female", "synth-pop, fast, male")
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert float((drawn[0] - drawn[2]).square().mean()) > 0.1
