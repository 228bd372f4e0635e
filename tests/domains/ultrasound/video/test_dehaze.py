"""The six methods on cines whose parts are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.denoise import wrap
from core.errors import ConfigError, NumericalError
from core.process import Karras
from core.train.checkpoint import Checkpoint
from domains.ultrasound.config import VideoConfig
from domains.ultrasound.video.dehaze import (
    METHODS,
    NUCLEAR_START,
    calls_of,
    dehaze_cine,
    start_of,
    windows_of,
)
from domains.ultrasound.video.prior import PicturePrior

CONFIG = VideoConfig(steps=6, keep_bottom=0.0)
PROCESS = Karras(0.01, 2.0)


class Flat(torch.nn.Module):
    """The exact prior mean of pictures of one level with a spread of .3."""

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
        gain = 0.09 / (0.09 + t[:, None, None, None] ** 2)
        return -0.5 + gain * (x + 0.5)


@pytest.fixture
def prior() -> PicturePrior:
    denoiser = wrap(Flat(), PROCESS, predicts="x0")
    return PicturePrior(denoiser, (32, 32), (0.01, 2.0), None, Checkpoint({}, {}, "x0", 1.0))


def cine(frames: int = 9, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    levels = np.clip(-0.5 + 0.3 * rng.normal(size=(frames, 32, 24)), -0.99, 1).astype(np.float32)
    levels[:, :, :3] = -1
    return levels


def test_none_changes_nothing() -> None:
    found = dehaze_cine(cine(), "none", CONFIG)
    np.testing.assert_array_equal(found.clean.numpy(), cine())
    assert not found.haze.any()
    assert found.network_calls == 0


def test_threshold_subtracts_medians_of_what_is_lit() -> None:
    levels = cine()
    found = dehaze_cine(levels, "threshold", CONFIG.model_copy(update={"threshold_k": 0.5})).clean.numpy()
    bright = (levels + 1) / 2
    # Black columns are no echo and do not count: with them the median would be lower.
    floor = 0.5 * np.median(bright[:, :, 3:], axis=(1, 2))
    lower = 0.5 * np.median(bright, axis=(1, 2))
    expected = 2 * np.maximum(bright - floor[:, None, None], 0) - 1
    np.testing.assert_allclose(
        found, expected, atol=2e-3
    )  # torch's median is the lower of the two middle ones
    assert np.abs(floor - lower).min() > 5e-3


def test_svd_and_rpca_remove_what_stands_still_and_keep_what_moves() -> None:
    still = np.random.default_rng(0).random((1, 24, 32)).astype(np.float32)
    levels = np.repeat(still, 12, axis=0) * 0.6 - 1
    for frame in range(12):
        levels[frame, 10:13, 2 * frame : 2 * frame + 3] += 1.2
    dot = np.zeros_like(levels)
    for frame in range(12):
        dot[frame, 10:13, 2 * frame : 2 * frame + 3] = 1.2
    found = dehaze_cine(levels, "rpca", CONFIG).clean.numpy() + 1
    np.testing.assert_allclose(found, dot, atol=1e-3)
    svd = dehaze_cine(levels, "svd", CONFIG).clean.numpy() + 1
    assert np.abs(svd - dot).mean() < 0.25 * np.abs(levels + 1 - dot).mean()


def test_what_is_black_in_every_frame_stays_black(prior: PicturePrior) -> None:
    for method in METHODS:
        found = dehaze_cine(cine(), method, CONFIG, prior=prior).clean
        assert bool((found[:, :, :3] == -1).all()), method
        assert float(found.abs().max()) <= 1


def test_clean_haze_and_residual_add_up(prior: PicturePrior) -> None:
    y = torch.from_numpy(cine())
    for method in METHODS:
        found = dehaze_cine(cine(), method, CONFIG, prior=prior)
        gap = (y - found.clean - found.haze).flatten(1).norm(dim=1) / (y + 1).flatten(1).norm(dim=1)
        torch.testing.assert_close(found.residual, gap)
        assert (float(found.residual.max()) > 1e-3) == (method == "nuclear")


def test_windows_cover_every_frame_once_and_the_last_is_full() -> None:
    assert windows_of(7, 7) == [(0, 7)]
    assert windows_of(5, 7) == [(0, 5)]
    assert windows_of(16, 7) == [(0, 7), (7, 14), (9, 16)]
    assert windows_of(8, 7) == [(0, 7), (1, 8)]
    assert calls_of("nuclear", 16, VideoConfig(steps=10)) == 210
    assert calls_of("semantic", 16, VideoConfig(steps=10)) == 160
    assert calls_of("rpca", 16, VideoConfig()) == 0


def test_frames_of_one_window_do_not_depend_on_those_of_another(prior: PicturePrior) -> None:
    levels = cine(14)
    whole = dehaze_cine(levels, "nuclear", CONFIG, prior=prior).clean
    first = dehaze_cine(levels[:7], "nuclear", CONFIG, prior=prior).clean
    torch.testing.assert_close(whole[:7], first, atol=1e-5, rtol=0)
    assert whole.shape == (14, 32, 24)


def test_semantic_does_not_depend_on_the_batch(prior: PicturePrior) -> None:
    one, all_ = (
        dehaze_cine(cine(), "semantic", CONFIG.model_copy(update={"batch": n}), prior=prior).clean
        for n in (1, 16)
    )
    torch.testing.assert_close(one, all_, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ["nuclear", "semantic"])
def test_a_still_cine_stays_still_unless_noise_is_independent(method: str, prior: PicturePrior) -> None:
    levels = np.repeat(cine(1), 4, axis=0)
    shared = dehaze_cine(levels, method, CONFIG, prior=prior).clean
    free = dehaze_cine(
        levels, method, CONFIG.model_copy(update={"independent_noise": True}), prior=prior
    ).clean
    assert float(shared.diff(dim=0).abs().max()) < 1e-4
    assert float(free.diff(dim=0).abs().mean()) > 1e-3


def test_the_same_seed_gives_the_same_output(prior: PicturePrior) -> None:
    a, b, c = (dehaze_cine(cine(), "nuclear", CONFIG, prior=prior, seed=s).clean for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_nuclear_finds_haze_that_the_prior_rejects(prior: PicturePrior) -> None:
    levels = cine(7)
    haze = np.zeros_like(levels)
    haze[:, 8:24, 6:20] = 0.4
    hazy = np.clip(levels + haze, -1, 1)
    config = VideoConfig(steps=50, mu=0.2, gamma=0.02, start_sigma=2.0, shrink="prox")
    found = dehaze_cine(hazy, "nuclear", config, prior=prior)
    inside = haze > 0
    outside = ~inside & (levels > -1)
    assert float(found.haze.numpy()[inside].mean()) > 5 * abs(float(found.haze.numpy()[outside].mean()))
    before, after = (float(np.abs(x - levels)[inside].mean()) for x in (hazy, found.clean.numpy()))
    assert after < 0.7 * before  # measured .66: the prior's own spread, .3, is as large as the haze


def test_bright_echoes_are_put_back_on_request(prior: PicturePrior) -> None:
    levels = cine(7)
    levels[:, 5, 10] = 0.95
    config = CONFIG.model_copy(update={"keep_above": 0.9})
    found = dehaze_cine(levels, "nuclear", config, prior=prior).clean.numpy()
    np.testing.assert_array_equal(found[levels > 0.9], levels[levels > 0.9])
    plain = dehaze_cine(levels, "nuclear", CONFIG, prior=prior).clean.numpy()
    assert np.abs(plain[levels > 0.9] - levels[levels > 0.9]).max() > 1e-3


def test_the_late_start_is_the_published_one_within_what_was_trained(prior: PicturePrior) -> None:
    # Signal rates from .95 to .02 over angles, entered at a tenth of the way.
    low, high = np.arccos(0.95), np.arccos(0.02)
    assert np.tan(low + 0.1 * (high - low)) == pytest.approx(NUCLEAR_START, abs=5e-4)
    assert start_of("nuclear", prior, CONFIG) == NUCLEAR_START
    assert start_of("semantic", prior, CONFIG) == 2.0
    assert start_of("nuclear", replace(prior, sigmas=(0.01, 0.3)), CONFIG) == 0.3


@pytest.mark.parametrize(
    ("method", "frames", "changes", "message"),
    [
        ("nucleus", 9, {}, "unknown method 'nucleus'"),
        ("nuclear", 1, {}, "needs at least 2 frames, the input has 1"),
        ("rpca", 1, {}, "needs at least 2 frames"),
        ("svd", 3, {"svd_k": 3}, "needs at least 4 frames, the input has 3"),
        (
            "semantic",
            2,
            {"start_sigma": 2.5},
            r"start_sigma 2.5 lies outside the trained range \(0.01, 2.0\]",
        ),
        ("nuclear", 9, {"start_sigma": 0.3, "end_sigma": 0.4}, "start_sigma 0.3 must exceed end_sigma 0.4"),
    ],
)
def test_what_cannot_run_is_refused(
    method: str, frames: int, changes: dict[str, float], message: str, prior: PicturePrior
) -> None:
    with pytest.raises(ConfigError, match=message):
        dehaze_cine(cine(frames), method, CONFIG.model_copy(update=changes), prior=prior)


def test_a_method_with_a_prior_says_how_to_get_one() -> None:
    with pytest.raises(ConfigError, match="'nuclear' needs a prior") as caught:
        dehaze_cine(cine(), "nuclear", CONFIG)
    assert "train bmode" in str(caught.value.hint)


def test_divergence_stops_and_names_step_and_method(prior: PicturePrior) -> None:
    class Wild(Flat):
        def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Tensor:
            return 100 * x

    wild = replace(prior, denoiser=wrap(Wild(), PROCESS, predicts="x0"))
    with pytest.raises(NumericalError, match=r"step \d of 6 \(method 'nuclear'\)"):
        dehaze_cine(cine(), "nuclear", CONFIG, prior=wild)
