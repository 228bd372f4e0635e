"""Guided dehazing: masks, weights and the guided step, each against its formula."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from core.errors import ConfigError, DataError
from core.plan import corrected, ddim, log
from core.process import Karras
from core.run import sample
from domains.ultrasound.config import VideoConfig
from domains.ultrasound.video.masks import (
    blurred,
    border,
    keep_bottom,
    outside,
    skeleton_of,
    trust,
)
from domains.ultrasound.video.semantic import semantic, semantic_error
from tests.fixtures.normal import Normal

F64 = torch.float64
CONFIG = VideoConfig()
PROCESS = Karras(0.01, 2.0)
PRIOR = Normal(-0.4, 0.3, process=PROCESS)


def box(shape: tuple[int, int], rows: slice, cols: slice) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[rows, cols] = True
    return mask


def picture(rows: int = 128, cols: int = 96, level: float = -0.7) -> Tensor:
    return torch.full((2, rows, cols), level)


def test_the_published_weights_are_the_defaults() -> None:
    assert (CONFIG.w_bg, CONFIG.w_vent, CONFIG.w_sept) == (1.0, 0.3, 2.037)
    assert (CONFIG.penalty, CONFIG.beta) == (0.0078, 1.6355)
    assert (CONFIG.mask_threshold, CONFIG.mask_sigma_px) == (0.176, 4.2)
    assert (CONFIG.border_top_px, CONFIG.border_bottom_px) == (20, 40)
    assert (CONFIG.keep_bottom, CONFIG.blend_bottom) == (0.32, 0.07)


def test_blur_is_the_gaussian_filter_of_scipy(gen: torch.Generator) -> None:
    x = torch.rand(2, 40, 30, generator=gen, dtype=F64)
    expected = np.stack([gaussian_filter(frame, 2.1, mode="nearest") for frame in x.numpy()])
    np.testing.assert_allclose(blurred(x, 2.1).numpy(), expected, atol=1e-12)
    assert torch.equal(blurred(x, 0.0), x)


def test_the_error_is_its_formula(gen: torch.Generator) -> None:
    x0, y, weights, haze = (torch.rand(3, 1, 6, 5, generator=gen, dtype=F64) * 2 - 1 for _ in range(4))
    haze = haze.abs()
    found = semantic_error(x0, y, weights, haze, penalty=0.7, beta=0.4)
    u = ((x0 + 1) * haze).abs()
    huber = torch.where(u < 0.4, u**2 / 0.8, u - 0.2)
    expected = (weights**2 * (y - x0) ** 2 + 0.7 * huber).sum((1, 2, 3))
    torch.testing.assert_close(found, expected)
    unsquared = (weights * (y - x0) ** 2 + 0.7 * huber).sum(
        (1, 2, 3)
    )  # W outside the square is another error
    assert not torch.allclose(found, unsquared)


def test_without_regions_the_background_has_its_weight_and_border_and_black_are_trusted() -> None:
    levels = picture()
    levels[:, 60:70, 40:60] = -1
    found = trust(levels, {}, CONFIG.model_copy(update={"skeleton": False}))
    assert not found.haze.any()
    # 128 rows: the borders of 20 and 40 px of 256 are 10 and 20 rows.
    at = found.weights[0, :, 5]
    assert at[:10].tolist() == pytest.approx([2.037] * 10)
    assert at[10:108].tolist() == pytest.approx([1.0] * 98)
    assert at[108:].tolist() == pytest.approx([2.037] * 20)
    assert float(found.weights[0, 65, 50]) == pytest.approx(2.037)


def test_ventricle_and_septum_get_their_weights_and_haze_is_expected_in_the_ventricle() -> None:
    levels = picture()
    regions = {
        "cavity": box((128, 96), slice(40, 90), slice(10, 50)),
        "tissue": box((128, 96), slice(40, 90), slice(60, 86)),
    }
    found = trust(levels, regions, CONFIG.model_copy(update={"skeleton": False}))
    # Deep inside, further than the blur (4.2 px of 256 rows, 2.1 here, cut at 8) reaches, masks are 1.
    assert float(found.weights[0, 65, 30]) == pytest.approx(0.3, abs=1e-6)
    assert float(found.haze[0, 65, 30]) == pytest.approx(1.0, abs=1e-6)
    assert float(found.weights[0, 65, 73]) == pytest.approx(2.037, abs=1e-6)
    assert float(found.haze[0, 65, 73]) == 0
    assert float(found.weights[0, 25, 5]) == pytest.approx(1.0)
    # On the edge of a straight region the blurred mask is one half.
    assert float(found.haze[0, 65, 9:11].mean()) == pytest.approx(0.5, abs=0.05)
    other = trust(levels, {"ventricle": regions["cavity"], "septum": regions["tissue"]}, CONFIG)
    named = trust(levels, regions, CONFIG)
    assert torch.equal(other.weights, named.weights)


def test_no_haze_is_expected_where_the_picture_is_trusted() -> None:
    levels = picture()
    regions = {"cavity": box((128, 96), slice(0, 60), slice(10, 80))}  # reaches into the border at the top
    found = trust(levels, regions, CONFIG.model_copy(update={"skeleton": False}))
    assert not found.haze[0, :10].any()
    assert float(found.weights[0, 5, 40]) == pytest.approx(2.037)
    assert float(found.haze[0, 30, 40]) == pytest.approx(1, abs=1e-6)


def test_regions_may_move_from_frame_to_frame() -> None:
    masks = np.stack([box((128, 96), slice(40, 80), slice(10 + d, 40 + d)) for d in (0, 40)])
    found = trust(picture(), {"cavity": masks}, CONFIG)
    assert float(found.haze[0, 60, 25]) == pytest.approx(1, abs=1e-6)
    assert float(found.haze[1, 60, 25]) == 0
    with pytest.raises(DataError, match="region 'cavity' has shape"):
        trust(picture(), {"cavity": masks[:, :100]}, CONFIG)


def test_the_skeleton_runs_along_the_middle_of_a_bright_bar() -> None:
    pytest.importorskip("skimage")
    levels = torch.full((1, 256, 200), -1.0)
    levels[0, 100:121, 20:180] = 1.0
    lines = skeleton_of(levels, CONFIG)
    assert lines[0, :, 100].argmax().item() == pytest.approx(110, abs=1)
    assert float(lines.max()) == 1.0
    assert float(lines[0, 40, 100]) == 0
    assert not skeleton_of(torch.full((1, 64, 64), -1.0), CONFIG).any()


def test_border_rows_scale_with_the_picture() -> None:
    for rows, top, bottom in ((256, 20, 40), (512, 40, 80), (64, 5, 10)):
        band = border(torch.zeros(1, rows, 3), CONFIG)[0, :, 0]
        assert (int(band[: rows // 2].sum()), int(band[rows // 2 :].sum())) == (top, bottom)


def test_the_bottom_is_the_input_and_blends_by_a_cosine() -> None:
    output, source = torch.zeros(1, 1000, 4, dtype=F64), torch.ones(1, 1000, 4, dtype=F64)
    mixed = keep_bottom(output, source, keep=0.32, blend=0.07)[0, :, 0]
    assert bool((mixed[680:] == 1).all())
    assert bool((mixed[:610] == 0).all())
    assert float(mixed[645]) == pytest.approx(0.5)  # the middle of the ramp
    assert float(mixed[610 + 70 // 4]) == pytest.approx((1 - np.cos(np.pi * 17 / 70)) / 2)
    assert torch.equal(keep_bottom(output, source, keep=0.0, blend=0.07), output)


def test_outside_is_what_is_black_in_every_frame() -> None:
    levels = torch.full((2, 4, 4), -1.0)
    levels[0, 1, 1] = 0.5
    assert outside(levels).sum() == 15
    assert not outside(levels)[1, 1]


def guided(y: Tensor, weights: Tensor, haze: Tensor, n: int = 40, **changes: float) -> tuple[Tensor, object]:
    plan = ddim(PROCESS, log(PROCESS, n, low=0.01, high=2.0))
    options = {"penalty": 0.0, "beta": 1.6355, "guidance": 1.0, "clip": 10.0} | changes
    rule = semantic(PRIOR, y, weights, haze, plan, **options)
    z = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    return sample(plan, rule, y + 2.0 * z), plan


def by_hand(y: Tensor, weights: Tensor, plan: object, guidance: float, *, sign: float = -1.0) -> Tensor:
    """The guided run of the Gaussian prior: D is linear in x with slope g, so the gradient is written out."""
    z = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    x = y + 2.0 * z
    for row in plan.rows:  # type: ignore[attr-defined]
        g = 0.3**2 / (0.3**2 + row.t**2)
        mean = -0.4 + g * (x + 0.4)
        grad = -2 * weights**2 * (y - mean) * g
        step = guidance / (2 * float(weights.max()) ** 2)
        x = row.keep * x + row.pull[0] * mean + sign * step * grad
    return x


@pytest.mark.parametrize("guidance", [0.2, 1.0])
def test_the_guided_run_is_the_recursion_written_out(guidance: float, gen: torch.Generator) -> None:
    y = torch.rand(2, 1, 8, 9, generator=gen, dtype=F64) - 1
    weights = 0.3 + 1.7 * torch.rand(2, 1, 8, 9, generator=gen, dtype=F64)
    found, plan = guided(y, weights, torch.zeros_like(y), guidance=guidance)
    torch.testing.assert_close(found, by_hand(y, weights, plan, guidance), atol=1e-10, rtol=0)
    wrong = by_hand(y, weights, plan, guidance, sign=1.0)
    assert float((found - wrong).abs().max()) > 0.1


def test_full_guidance_returns_what_is_trusted_and_none_returns_the_prior(gen: torch.Generator) -> None:
    y = torch.rand(1, 1, 8, 9, generator=gen, dtype=F64) - 1
    ones, none = torch.ones_like(y), torch.zeros_like(y)
    found, _ = guided(y, ones, none)
    # At the last level, .01, the prior passes 1 - .001 of its input: the residual is closed to that.
    assert float((found - y).abs().max()) < 5e-3
    free, plan = guided(y, ones, none, guidance=0.0)
    z = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    torch.testing.assert_close(free, sample(plan, PRIOR, y + 2.0 * z))  # type: ignore[arg-type]


def test_less_trust_means_further_from_the_recording(gen: torch.Generator) -> None:
    y = torch.rand(1, 1, 16, 16, generator=gen, dtype=F64)  # brighter than the prior expects
    weights = torch.ones_like(y)
    weights[..., 8:] = 0.1
    found, _ = guided(y, weights, torch.zeros_like(y), guidance=0.3)
    gap = (found - y).abs()
    assert float(gap[..., 8:].mean()) > 2 * float(gap[..., :8].mean())


def test_the_penalty_darkens_where_haze_is_expected_and_nowhere_else(gen: torch.Generator) -> None:
    y = torch.rand(1, 1, 16, 16, generator=gen, dtype=F64) - 0.5
    haze = torch.zeros_like(y)
    haze[..., :8] = 1
    plain, _ = guided(y, torch.ones_like(y), haze)
    dark, _ = guided(y, torch.ones_like(y), haze, penalty=0.5)
    assert float((dark - plain)[..., :8].max()) < 0
    torch.testing.assert_close(dark[..., 8:], plain[..., 8:])


def test_moves_are_clipped(gen: torch.Generator) -> None:
    y = 100 * torch.ones(1, 1, 4, 4, dtype=F64)
    plan = ddim(PROCESS, log(PROCESS, 4, low=0.01, high=2.0))
    rule = semantic(PRIOR, y, torch.ones_like(y), torch.zeros_like(y), plan, penalty=0.0, beta=1.0, clip=0.25)
    row = plan.rows[0]
    x = torch.zeros_like(y)
    moved = (rule(x, row.t).mean - PRIOR(x, row.t).mean) * row.pull[0]  # type: ignore[union-attr]
    torch.testing.assert_close(moved, torch.full_like(y, 0.25))


def test_no_trust_at_all_and_other_plans_are_refused() -> None:
    y = torch.zeros(1, 1, 4, 4, dtype=F64)
    plan = ddim(PROCESS, log(PROCESS, 4, low=0.01, high=2.0))
    with pytest.raises(ConfigError, match="no pixel is trusted"):
        semantic(PRIOR, y, torch.zeros_like(y), y, plan, penalty=0.0, beta=1.0)
    wrong = corrected(plan, PROCESS, snr=0.1)
    with pytest.raises(ConfigError, match="linear rows"):
        semantic(PRIOR, y, torch.ones_like(y), y, wrong, penalty=0.0, beta=1.0)
