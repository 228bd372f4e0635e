"""Training song models: the loss by hand, what does not count, resuming, learning, students."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import CheckpointError, ConfigError, DataError
from core.flow_map import jump
from core.process import RectifiedFlow
from core.train import Batch, LogNormal, seeds_of
from core.train.checkpoint import load_snapshot
from domains.music.conditions import Dropout, Spans
from domains.music.config import DistilConfig, checked, preset_for
from domains.music.distil import GuidedTeacher, distil, student_of
from domains.music.generation import compose, condition, times_for
from domains.music.guidance import Guidance, guided
from domains.music.model import load_model, save_model
from domains.music.songs import SongSamples, vocabulary_of
from domains.music.style import TagStyle
from domains.music.training import SongLoss, evaluate_loss, train
from tests.domains.music.songs import nano, random_model, toy_songs

PLAIN = Dropout(0, 0, 0, 0)


class Off:
    """A denoiser whose flow is wrong by a known amount in every entry."""

    process = RectifiedFlow()

    def __init__(self, x0: Tensor, error: Tensor) -> None:
        self.x0, self.error = x0, error

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.x0 - t.to(x.dtype)[:, None, None] * self.error)


def test_the_loss_is_the_mean_square_error_of_the_flow() -> None:
    gen = torch.Generator().manual_seed(0)
    x0, error = (torch.randn(4, 6, 10, generator=gen, dtype=torch.float64) for _ in range(2))
    cond = {
        "start": torch.zeros(4),
        "valid": torch.arange(10).expand(4, -1) < torch.tensor([[10], [7], [10], [3]]),
    }
    loss = SongLoss(2, LogNormal(0, 1), PLAIN, Spans(share=0.0))(
        Off(x0, error), Batch(x0, cond), seeds_of(range(4), 0, "noise")
    )
    wanted = [float(error[i, :, :n].square().mean()) for i, n in enumerate((10, 7, 10, 3))]
    assert loss.tolist() == pytest.approx(wanted, rel=1e-6)


def test_given_frames_do_not_count() -> None:
    x0 = torch.zeros(200, 4, 10, dtype=torch.float64)
    cond = {"start": torch.zeros(200), "valid": torch.ones(200, 10, dtype=torch.bool)}
    error = torch.zeros_like(x0)
    error[..., -1] = 1.0
    spans = Spans(share=1.0, low=0.5, high=0.5, stem=0.0)
    loss = SongLoss(1, LogNormal(0, 1), PLAIN, spans)(
        Off(x0, error), Batch(x0, cond), seeds_of(range(200), 0, "n")
    )
    # Five frames are hidden: the last one is among them, or it is not.
    assert sorted(set(loss.tolist())) == pytest.approx([0.0, 0.2], abs=1e-6)
    everything = SongLoss(1, LogNormal(0, 1), Dropout(0, 0, 0.999, 0), spans)
    assert float(everything(Off(x0, error), Batch(x0, cond), seeds_of(range(200), 0, "n")).mean()) < 0.11


def test_times_follow_the_published_law() -> None:
    seen: list[Tensor] = []

    class Spy(Off):
        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            seen.append(t)
            return super().__call__(x, t, cond)

    x0 = torch.zeros(4000, 2, 2)
    cond = {"start": torch.zeros(4000), "valid": torch.ones(4000, 2, dtype=torch.bool)}
    SongLoss(1)(Spy(x0, x0), Batch(x0, cond), torch.Generator().manual_seed(0))
    logit = torch.log(seen[0] / (1 - seen[0]))
    # Standard errors 0.016 and 0.011.
    assert float(logit.mean()) == pytest.approx(0, abs=0.06)
    assert float(logit.std()) == pytest.approx(1, abs=0.05)


def test_a_crop_depends_on_its_number_alone() -> None:
    songs = toy_songs()
    samples = SongSamples(songs, 64, TagStyle(vocabulary_of(songs)))
    whole = samples(range(10, 18), 3)
    part = samples(range(12, 14), 3)
    assert torch.equal(whole.x0[2:4], part.x0)
    for name, value in part.cond.items():
        assert torch.equal(whole.cond[name][2:4], value)
    assert not torch.equal(whole.x0, samples(range(18, 26), 3).x0)


def test_crops_are_cut_from_their_song_with_its_lyrics() -> None:
    songs = [replace(song, lines=()) for song in toy_songs(2, frames=100)]
    samples = SongSamples(songs, 64, TagStyle(vocabulary_of(songs)), excerpt=0.5)
    alone = 0
    for n in range(60):
        x0, cond = samples.one(n, 0)
        found = [
            (song, start)
            for song in songs
            for start in range(37)
            if torch.equal(song.latents[:, start : start + 64], x0)
        ]
        assert len(found) == 1
        song, start = found[0]
        assert any(torch.equal(each[start : start + 64], cond["phones"]) for each in song.phones)
        own = math.isclose(float(cond["total"]), 64 * 1024 / 22050, rel_tol=1e-5)
        assert float(cond["start"]) == pytest.approx(0 if own else start * 1024 / 22050)
        alone += own
    assert 15 < alone < 45
    short = SongSamples(toy_songs(1, frames=20), 64, TagStyle(vocabulary_of(songs)))
    x0, cond = short.one(0, 0)
    assert int(cond["valid"].sum()) == 20
    assert not x0[:, 20:].any()


def test_songs_whose_parts_disagree_are_named() -> None:
    song = toy_songs(1)[0]
    with pytest.raises(DataError, match="song 'song 0' has 90 frames of latents, 80 of phones"):
        replace(song, phones=song.phones[:, :80])
    with pytest.raises(DataError, match="song 'song 0' has 8 latent channels, the model 4"):
        train([song], nano(channels=2), split=None)
    with pytest.raises(DataError, match="none of the 1 songs is in the split 'test'"):
        train([replace(song, split="train")], nano(), split="test")


def test_training_beats_the_answer_that_knows_the_moments_only() -> None:
    songs = toy_songs()
    config = nano(steps=30, batch=8, crop=32, lr=8e-3)
    model = train(songs, config, seed=0)
    loss = evaluate_loss(model.denoiser, songs, config, model.tags, count=32)

    class Moments(Off):
        """The best answer for independent normal latents: it explains nothing but scale."""

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            s = t.to(x.dtype)[:, None, None]
            return Posterior(mean=(1 - s) * x * 0.5 / ((1 - s) ** 2 * 0.5 + s**2))

    class Module(torch.nn.Module):
        process = RectifiedFlow()

        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            return Moments(x, x)(x, t, cond)

    floor = evaluate_loss(Module(), songs, config, model.tags, count=32)  # type: ignore[arg-type]
    assert loss < 0.85 * floor


def test_a_run_that_was_cut_short_goes_on_bit_for_bit(tmp_path: Path) -> None:
    songs, config = toy_songs(), nano(steps=6, batch=2, schedule="constant", warmup=0)
    whole = train(songs, config, seed=1, folder=tmp_path / "whole")
    train(songs, nano(steps=3, batch=2, schedule="constant", warmup=0), seed=1, folder=tmp_path / "cut")
    assert load_snapshot(tmp_path / "cut" / "step-000000003.safetensors").step == 3
    rest = train(songs, config, seed=1, folder=tmp_path / "cut", resume=True)
    for name, value in whole.checkpoint.weights.items():
        assert torch.equal(value, rest.checkpoint.weights[name]), name


def test_a_model_comes_back_from_its_file(tmp_path: Path) -> None:
    model = train(toy_songs(), nano(steps=2, batch=2), folder=tmp_path)
    again = load_model(tmp_path)
    cond = condition(again, 30, style=again.tags.text("piano, female"))
    drawn = [compose(m, cond, 30, torch.Generator().manual_seed(0)).latents for m in (model, again)]
    assert torch.equal(*drawn)
    assert again.vocabulary == {"instrument": ("organ", "piano"), "voice": ("female", "male")}
    save_model(again, tmp_path / "half", half=True)
    half = load_model(tmp_path / "half" / "model.safetensors")
    near = compose(half, cond, 30, torch.Generator().manual_seed(0)).latents
    assert torch.allclose(near, drawn[0], atol=0.05)
    assert not half.student
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_model(tmp_path / "absent")


def test_the_teacher_of_a_student_is_the_guided_model() -> None:
    model = random_model()
    x = torch.randn(2, 8, 30, generator=torch.Generator().manual_seed(0))
    cond = condition(model, 30, count=2, phones=torch.arange(30) % 20, style=torch.ones(4))
    teacher = GuidedTeacher(model.denoiser)
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    told = teacher(x, t, {**cond, "weight": torch.tensor([1.0, 4.0])}).mean
    assert torch.allclose(told[:1], model.denoiser(x, t, cond).mean[:1], atol=1e-5)
    strong = guided(model.denoiser, Guidance(4, 4))(x, t, cond).mean
    assert torch.allclose(told[1:], strong[1:], atol=1e-4)


def test_a_jump_to_where_it_starts_is_no_jump() -> None:
    model = random_model(student=True)
    x = torch.randn(2, 8, 30, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(jump(model.denoiser, x, 0.7, 0.7, condition(model, 30, count=2)), x, atol=1e-6)


@pytest.mark.parametrize("kind", ["consistency", "trajectory"])
def test_a_student_is_distilled_and_resumed_bit_for_bit(kind: str, tmp_path: Path) -> None:
    songs = toy_songs()
    teacher = train(songs, nano(steps=5, batch=2))
    recipe = {"kind": kind, "crop": 32, "grid": 6, "batch": 2, "ema": 0.9, "warmup": 0}
    whole = distil(teacher, songs, checked(DistilConfig, {**recipe, "steps": 3}), folder=tmp_path / "whole")
    distil(teacher, songs, checked(DistilConfig, {**recipe, "steps": 2}), folder=tmp_path / "cut")
    rest = distil(
        teacher, songs, checked(DistilConfig, {**recipe, "steps": 3}), folder=tmp_path / "cut", resume=True
    )
    for name, value in whole.checkpoint.weights.items():
        assert torch.equal(value, rest.checkpoint.weights[name]), name
    again = load_model(tmp_path / "whole")
    assert again.student
    assert again.config.sampling.steps == 4
    made = compose(again, condition(again, 30), 30, torch.Generator().manual_seed(0))
    assert made.calls == 4
    with pytest.raises(ConfigError, match="is a student already"):
        distil(again, songs, DistilConfig(steps=1))


def test_a_fresh_student_jumps_as_its_teacher_steps() -> None:
    teacher = random_model()
    student = student_of(teacher).eval()
    x, t = torch.randn(2, 8, 30), torch.tensor([0.5, 0.9])
    cond = condition(teacher, 30, count=2)
    told = {**cond, "to": torch.tensor([0.1, 0.2]), "weight": torch.tensor([2.0, 3.0])}
    assert torch.equal(student(x, t, told), teacher.net(x, t, cond))


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="crops of 100 frames are longer than the model's 64"):
        preset_for("nano", {"crop": 100})
    with pytest.raises(ConfigError, match=r"net\.width=20"):
        preset_for("nano", {"net": {"width": 20}})
    with pytest.raises(ConfigError, match="unknown preset 'tinny'"):
        preset_for("tinny")
    assert preset_for("nano", {"sampling": {"steps": 3}}).sampling.steps == 3
    assert times_for(2) == [1.0, 0.5, 0.0]
