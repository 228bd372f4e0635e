"""Composing: guidance against its formula, counts of calls, given music, tiles, students, noise search."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior
from core.errors import ConfigError, ModelMismatch
from core.infer.search import Search
from core.process import RectifiedFlow
from core.state import Seeds
from domains.music.config import Sampling
from domains.music.generation import (
    Composed,
    calls_of,
    compose,
    condition,
    plan_for,
    runs_budget,
    search_noise,
    times_for,
)
from domains.music.guidance import Counted, Guidance, evaluations, guided
from domains.music.tiling import shared, tiles
from tests.domains.music.songs import random_model
from tests.domains.music.toy_codec import ToyCodec

FRAMES = 40


class Named:
    """A model whose answer says what it was told: 1 for nothing, 10 for style, 100 for lyrics and style."""

    process = RectifiedFlow()

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        yes = torch.ones(len(x), dtype=torch.bool)
        lyrics, style = (cond.get(f"has_{name}", yes).float() for name in ("lyrics", "style"))
        style = torch.maximum(style, (cond["style"][:, 0] == 7).float())
        value = 1 + 9 * style + 90 * style * lyrics
        return Posterior(mean=value[:, None, None] * torch.ones_like(x))


def answer(settings: Guidance, t: float = 0.5, **options: Any) -> float:
    model = guided(Named(), settings, **options)
    return float(
        model(torch.zeros(2, 1, 3), t, {"style": torch.zeros(2, 4), "start": torch.zeros(2)}).mean[0, 0, 0]
    )


def test_guidance_is_its_formula() -> None:
    assert answer(Guidance(1, 1)) == 100
    assert answer(Guidance(3, 3)) == pytest.approx(1 + 3 * 99)
    assert answer(Guidance(3, 3), batched=True) == pytest.approx(1 + 3 * 99)
    # 1 + w_s (10 - 1) + w_l (100 - 10)
    assert answer(Guidance(2, 5)) == pytest.approx(1 + 5 * 9 + 2 * 90)
    assert answer(Guidance(2, 1)) == pytest.approx(1 + 9 + 2 * 90)
    assert answer(Guidance(3, 3, low=0.6)) == 100
    # A negative style takes the place of none: 10 instead of 1.
    negative = torch.full((4,), 7.0)
    assert answer(Guidance(3, 3), negative=negative) == pytest.approx(10 + 3 * 90)


def test_weights_of_one_are_the_conditional_model() -> None:
    model = random_model()
    gen = torch.Generator().manual_seed(0)
    cond = condition(model, FRAMES, count=2, phones=torch.randint(0, 20, (FRAMES,)), style=torch.ones(4))
    x = torch.randn(2, 8, FRAMES, generator=gen)
    plain = model.denoiser(x, 0.7, cond).mean
    assert torch.equal(guided(model.denoiser, Guidance(1, 1))(x, 0.7, cond).mean, plain)
    strong = guided(model.denoiser, Guidance(3, 3))(x, 0.7, cond).mean
    assert not torch.allclose(strong, plain, atol=1e-3)
    both = guided(model.denoiser, Guidance(3, 3), batched=True)(x, 0.7, cond).mean
    assert torch.allclose(both, strong, atol=1e-5)
    # The chain with nearly equal weights is the pair.
    chain = guided(model.denoiser, Guidance(3, 3 + 1e-6))(x, 0.7, cond).mean
    assert torch.allclose(chain, strong, atol=1e-4)


def test_the_published_grid_takes_62_calls() -> None:
    times = times_for(31)
    assert (len(times), times[0], times[-1]) == (32, 1.0, 0.0)
    plan = plan_for(RectifiedFlow(), Sampling(lyrics=5, style=5))
    assert plan.evaluations == 31
    assert evaluations(plan, Guidance(5, 5)) == 62
    assert evaluations(plan, Guidance(4, 5)) == 93
    assert evaluations(plan, Guidance(1, 1)) == 31
    # Guidance at t in [0.5, 1]: 16 of the 31 steps begin there.
    assert evaluations(plan, Guidance(5, 5, low=0.5)) == 31 + sum(t >= 0.5 for t in times[:-1]) == 47
    warped = times_for(10, warp=3.0)
    assert warped[5] == pytest.approx(3 * 0.5 / 2)
    assert sum(t > 0.5 for t in warped) > sum(t > 0.5 for t in times_for(10))


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        (Sampling(steps=4, lyrics=1, style=1), 4),
        (Sampling(steps=4, lyrics=2, style=2), 8),
        (Sampling(steps=4, lyrics=2, style=3), 12),
        (Sampling(steps=4, lyrics=2, style=2, low=0.6), 4 + 2),
        (Sampling(steps=4, lyrics=1, style=1, solver="midpoint"), 7),
        (Sampling(steps=4, lyrics=1, style=1, solver="heun"), 7),
        (Sampling(steps=3, lyrics=2, style=2, solver="ancestral"), 6),
    ],
)
def test_calls_are_counted_exactly(settings: Sampling, calls: int) -> None:
    model = random_model()
    cond = condition(model, FRAMES, count=2, style=torch.ones(4))
    for batched in (False, True):
        made = compose(
            model, cond, FRAMES, torch.Generator().manual_seed(0), sampling=settings, batched=batched
        )
        assert made.calls == calls == calls_of(model, settings)


def test_euler_is_the_sum_of_its_steps() -> None:
    model = random_model()
    cond = condition(model, FRAMES, style=torch.ones(4))
    made = compose(
        model, cond, FRAMES, torch.Generator().manual_seed(3), sampling=Sampling(steps=5, lyrics=1, style=1)
    )
    x = torch.randn(1, 8, FRAMES, generator=torch.Generator().manual_seed(3))
    for i in range(5):
        t = torch.full((1,), 1 - i / 5)
        x = x - model.net(x, t, cond) / 5
    assert torch.allclose(made.latents, x, atol=1e-4)


def test_a_song_of_a_batch_is_the_song_drawn_alone() -> None:
    model = random_model()
    settings = Sampling(steps=3, lyrics=2, style=2)
    batch = compose(
        model, condition(model, FRAMES, count=3), FRAMES, Seeds([4, 5, 6]), sampling=settings
    ).latents
    alone = compose(model, condition(model, FRAMES), FRAMES, Seeds([5]), sampling=settings).latents
    assert torch.allclose(batch[1:2], alone, atol=1e-5)


def test_given_music_stays_and_the_rest_is_drawn() -> None:
    model = random_model()
    music = torch.randn(1, 8, FRAMES, generator=torch.Generator().manual_seed(1))
    keep = torch.zeros(1, 2, FRAMES)
    keep[:, 0, :15] = keep[:, 1, 10:] = 1
    cond = {**condition(model, FRAMES), "context": music, "keep": keep}
    made = compose(model, cond, FRAMES, torch.Generator().manual_seed(0), sampling=Sampling(steps=3))
    given = keep.repeat_interleave(4, 1) > 0
    assert torch.equal(made.latents[given], music[given])
    assert not torch.allclose(made.latents[~given], music[~given], atol=0.1)


def test_tiles_cover_what_is_hidden_and_overlap() -> None:
    everything = torch.ones(646, dtype=torch.bool)
    found = list(tiles(everything, 256, overlap=64))
    assert found == [(0, 256), (192, 448), (384, 640), (390, 646)]
    assert list(tiles(everything[:200], 256)) == [(0, 200)]
    span = torch.zeros(646, dtype=torch.bool)
    span[300:340] = True
    assert list(tiles(span, 256, overlap=64)) == [(192, 448)]
    assert list(tiles(torch.zeros(10, dtype=torch.bool), 256)) == []
    with pytest.raises(ConfigError, match="leaves nothing of tiles of 100"):
        list(tiles(everything, 100, overlap=50))


@pytest.mark.parametrize("frames", [200, 256, 257, 300, 448, 449, 480, 646, 1000, 6144])
def test_tiles_share_less_where_that_saves_one(frames: int) -> None:
    everything = torch.ones(frames, dtype=torch.bool)
    share = shared(frames, 256)
    count = len(list(tiles(everything, 256, overlap=share)))
    assert 32 <= share <= 64
    assert count == len(
        list(tiles(everything, 256, overlap=32))
    )  # as few as with half; with one frame more it would be one tile more
    assert share == 64 or count < len(list(tiles(everything, 256, overlap=share + 1)))


def test_a_long_song_is_made_of_tiles_that_are_told_where_they_are() -> None:
    model = random_model()
    seen: list[dict[str, Any]] = []
    inner = model.net.forward

    def spy(x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        seen.append({"start": float(cond["start"][0]), "keep": cond.get("keep"), "frames": x.shape[-1]})
        return inner(x, t, cond)

    model.net.forward = spy  # type: ignore[method-assign]
    cond = condition(model, 150, phones=torch.arange(150) % 20, style=torch.ones(150, 4))
    settings = Sampling(steps=2, lyrics=1, style=1)
    made = compose(model, cond, 150, torch.Generator().manual_seed(0), sampling=settings)
    assert made.latents.shape == (1, 8, 150)
    assert bool(made.latents.isfinite().all())
    assert made.tiles == 3
    assert made.calls == 6
    assert [entry["frames"] for entry in seen] == [64] * 6
    rate = 22050 / 1024
    assert [entry["start"] * rate for entry in seen[::2]] == pytest.approx([0, 48, 86], abs=1e-3)
    assert seen[0]["keep"] is None
    assert int(seen[2]["keep"].sum()) == 16
    # The last tile is moved to the end, and more of it is known.
    assert int(seen[4]["keep"].sum()) == 112 - 86


def test_a_student_takes_one_call_a_jump() -> None:
    model = random_model(student=True)
    told: list[tuple[float, float, float]] = []
    inner = model.net.forward

    def spy(x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        told.append((float(t[0]), float(cond["to"][0]), float(cond["weight"][0])))
        return inner(x, t, cond)

    model.net.forward = spy  # type: ignore[method-assign]
    made = compose(
        model,
        condition(model, FRAMES),
        FRAMES,
        torch.Generator().manual_seed(0),
        sampling=Sampling(steps=4, lyrics=2.5, style=2.5),
    )
    assert made.calls == 4
    assert told == [(1.0, 0.75, 2.5), (0.75, 0.5, 2.5), (0.5, 0.25, 2.5), (0.25, 0.0, 2.5)]
    with pytest.raises(ConfigError, match=r"one weight of guidance, got 2\.0 for lyrics, 3\.0 for style"):
        compose(
            model,
            condition(model, FRAMES),
            FRAMES,
            torch.Generator(),
            sampling=Sampling(steps=4, lyrics=2, style=3),
        )


def test_near_a_song_little_noise_changes_little() -> None:
    model = random_model()
    music = torch.randn(1, 8, FRAMES, generator=torch.Generator().manual_seed(1))
    settings = Sampling(steps=4, lyrics=1, style=1)
    far = []
    for strength in (0.01, 0.9):
        made = compose(
            model,
            condition(model, FRAMES),
            FRAMES,
            torch.Generator().manual_seed(0),
            sampling=settings,
            near=(music, strength),
        )
        far.append(float((made.latents - music).norm() / music.norm()))
    assert far[0] < 0.1 < far[1]


def loud(x: Tensor) -> Tensor:
    return x.square().mean((1, 2))


def test_searched_noise_is_the_best_of_the_songs_of_its_seeds() -> None:
    model = random_model()
    settings = Sampling(steps=2, lyrics=2, style=2)
    cond = condition(model, FRAMES, style=torch.ones(4), phones=torch.arange(FRAMES) % 20)
    alone = [compose(model, cond, FRAMES, Seeds([5 + k]), sampling=settings) for k in range(6)]
    wanted = torch.cat([loud(one.latents) for one in alone])
    budget = runs_budget(model, settings, 6)
    made = search_noise(
        model, cond, FRAMES, 5, Search("random", budget), lambda a, b: ([loud], None), sampling=settings
    )
    (found,) = made.found
    assert found.calls == budget == 12
    assert made.calls == 6 * alone[0].calls == 24
    # One batch of six and six batches of one differ by rounding alone.
    assert torch.allclose(found.log[0].scores[0, 0].float(), wanted, rtol=1e-4)
    assert torch.allclose(made.latents, alone[int(wanted.argmax())].latents, atol=1e-4)


@pytest.mark.parametrize("method", ["random", "zero-order", "paths"])
def test_a_long_song_is_searched_tile_by_tile(method: Any) -> None:
    model = random_model()
    settings = Sampling(steps=4, lyrics=1, style=1)
    cond = condition(model, 150, style=torch.ones(4))
    parts: list[tuple[int, int]] = []

    def judges(first: int, end: int) -> Any:
        parts.append((first, end))
        return [loud], lambda x: -loud(x)

    def made() -> Composed:
        search = Search(method, runs_budget(model, settings, 12))
        return search_noise(model, cond, 150, 0, search, judges, sampling=settings)

    first = made()
    assert parts == [(0, 64), (48, 112), (86, 150)]
    assert first.tiles == len(first.found) == 3
    for found, (start, end) in zip(first.found, parts, strict=True):
        best = max(float(log.scores.max()) for log in found.log if log.final)
        assert float(found.scores[0, 0]) == best
        assert float(found.second[0]) == -best  # type: ignore[index]
        # What an earlier tile gave stays in the song.
        assert torch.equal(first.latents[..., start:end], found.x)
    assert torch.equal(made().latents, first.latents)


def test_a_codec_of_another_clock_is_refused_by_name() -> None:
    codec = ToyCodec(channels=5)
    codec.hop = 512
    with pytest.raises(
        ModelMismatch, match=r"hop 512 \(the model has 1024\), channels 5 \(the model has 4\)"
    ):
        random_model().check_codec(codec)
    random_model().check_codec(ToyCodec())


def test_calls_and_songs_are_both_counted() -> None:
    counted = Counted(Named())
    counted(torch.zeros(5, 1, 2), 0.5, {"style": torch.zeros(5, 1)})
    assert (counted.calls, counted.songs) == (1, 5)


def test_a_condition_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"phones need one id for each of 40 frames, got \(39,\)"):
        condition(random_model(), FRAMES, phones=torch.zeros(39, dtype=torch.long))
