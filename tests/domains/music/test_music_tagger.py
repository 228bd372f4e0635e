"""The tagger: its loss against closed forms, its towers against what must not matter."""

import math

import pytest
import torch
import torch.nn.functional as F

from core.errors import ConfigError
from domains.music.frames import RATE
from domains.music.mel import BANDS, MEL_RATE
from domains.music.recogniser_training import Recording
from domains.music.tagger import Tagger, TaggerConfig, load_tagger, rhythm, save_tagger
from domains.music.tagger_training import TaggerTraining, contrast, train_tagger


def test_equal_vectors_give_the_logarithm_of_the_batch() -> None:
    ones = F.normalize(torch.ones(5, 4), dim=1)
    own = torch.eye(5)
    loss = contrast(ones, ones, own, own, torch.tensor(7.0))
    assert torch.allclose(loss, torch.full((5,), math.log(5)))


def test_matched_pairs_lose_nothing_at_a_large_scale() -> None:
    vectors = torch.eye(4)
    loss = contrast(vectors, vectors, torch.eye(4), torch.eye(4), torch.tensor(50.0))
    assert loss.abs().max() < 1e-6
    swapped = contrast(vectors, vectors.roll(1, 0), torch.eye(4), torch.eye(4), torch.tensor(50.0))
    assert swapped.min() > 40


def test_rows_with_equal_tags_share_the_target() -> None:
    # Clips 0 and 1 have the same tags: the best loss is log 2, reached when both fit both alike.
    own = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    vectors = own.clone()
    loss = contrast(vectors, vectors, own, own, torch.tensor(50.0))
    assert torch.allclose(loss, torch.tensor([math.log(2), math.log(2), 0.0]), atol=1e-5)


def test_a_row_that_shows_fewer_tags_fits_every_clip_that_has_them() -> None:
    own = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    shown = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    audio = F.normalize(torch.ones(2, 3), dim=1)
    # All cosines are equal; clip 0 fits row 0 alone, clip 1 both; row 0 fits both clips, row 1 clip 1 alone.
    assert torch.allclose(
        contrast(audio, audio, shown, own, torch.tensor(3.0)), torch.full((2,), math.log(2))
    )


def test_the_level_of_a_recording_does_not_matter() -> None:
    model = Tagger(TaggerConfig(8, 16)).eval()
    mel = torch.randn(2, BANDS, 50, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(mel), model(mel - 4.0), atol=1e-5)


def test_the_rhythm_is_one_at_the_tempo_of_the_onsets_and_less_between() -> None:
    period = 20  # frames: 129.2 bpm
    mel = torch.full((1, BANDS, 401), -8.0)
    mel[..., ::period] = 0.0
    found = rhythm(mel)[0]
    bpm = 20.0 * 12.0 ** torch.linspace(0, 1, 64)
    at = int((bpm - 60 * MEL_RATE / period).abs().argmin())
    between = int((bpm - 60 * MEL_RATE / (1.5 * period)).abs().argmin())
    assert found[at - 1 : at + 2].max() > 0.5
    assert found[between] < 0.1
    assert found.max() < 1.1


def test_words_and_tags_by_field_are_the_same_place() -> None:
    model = Tagger(TaggerConfig(8, 16)).eval()
    by_field = model.tag_vectors(model.given({"instrument": "piano", "tempo": "slow"})[None])[0]
    assert torch.allclose(model.embed_tags("slow, Piano"), by_field)
    assert by_field.norm().item() == pytest.approx(1.0)


def test_an_unknown_word_is_named_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="'pianno'") as err:
        Tagger(TaggerConfig(8, 16)).embed_tags("pianno")
    assert err.value.hint == "Did you mean 'piano'?"


def test_a_small_tagger_tells_two_sounds_apart_and_survives_a_file(tmp_path) -> None:
    gen = torch.Generator().manual_seed(0)
    time = torch.arange(4 * RATE) / RATE
    songs = []
    for instrument, f0_hz in (("piano", 200.0), ("organ", 2000.0)):
        wave = torch.sin(2 * math.pi * f0_hz * time) + 0.05 * torch.randn(len(time), generator=gen)
        samples = (9000 * wave).to(torch.int16)
        tags = {"instrument": instrument, "mode": "major", "tempo": "slow", "voice": "male"}
        songs.append(Recording(samples, samples, (), tags))
    settings = TaggerTraining(steps=40, batch=6, lr=1e-2, frames=24, ema=0.8)
    model, checkpoint = train_tagger(songs, settings, net=TaggerConfig(12, 16))
    for song in songs:
        probs = model.classify(song.voice.float() / 32767, RATE)["instrument"]
        assert max(probs, key=lambda tag: probs[tag]) == song.tags["instrument"]
        style = model.style()
        vector = style.audio(song.voice[None].float() / 32767, RATE)
        other = "organ" if song.tags["instrument"] == "piano" else "piano"
        assert vector @ style.text(song.tags["instrument"]) > vector @ style.text(other)
    path = tmp_path / "model.safetensors"
    save_tagger(path, model, checkpoint)
    again = load_tagger(path)
    assert torch.allclose(
        again.embed_audio(songs[0].voice.float(), RATE),
        model.embed_audio(songs[0].voice.float(), RATE),
        atol=0.05,
    )
