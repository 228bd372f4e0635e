"""Nuclear diffusion where every step is known: exact Gaussian priors, constant denoisers, given haze."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from core.denoise import Posterior, wrap
from core.errors import ConfigError
from core.process import Gaussian, Karras
from core.run import sample, steps
from core.state import Seeds
from domains.ultrasound.video.lowrank import as_matrix, rank_of, shrink_singular
from domains.ultrasound.video.nuclear import PerFrame, SharedNoise, Still, nuclear, nuclear_plan
from tests.fixtures.normal import Normal

F64 = torch.float64
PROCESS = Karras(0.01, 2.0)
MEAN, STD = -0.6, 0.15
PRIOR = Normal(MEAN, STD, process=PROCESS)


@dataclass(frozen=True)
class Known:
    """A denoiser that always answers the same frames."""

    frames: Tensor
    process: Gaussian = PROCESS

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=self.frames)


@dataclass(frozen=True)
class Scene:
    """A recording with known parts: frames from the prior, haze of rank one."""

    y: Tensor
    frames: Tensor
    haze: Tensor


@pytest.fixture
def scene(gen: torch.Generator) -> Scene:
    frames = MEAN + STD * torch.randn(1, 7, 24, 20, generator=gen, dtype=F64)
    pulse = (1 + 0.2 * torch.randn(7, generator=gen, dtype=F64))[None, :, None, None]
    haze = pulse * 0.5 * torch.rand(1, 1, 24, 20, generator=gen, dtype=F64)
    return Scene(frames + haze, frames, haze)


def run(scene: Scene, rule: Any, n: int = 50, *, start: float = 2.0, eta: float = 0.0) -> dict[str, Tensor]:
    plan = nuclear_plan(rule.process, n, start=start, end=0.01, eta=eta)
    x, _ = rule.process.perturb(
        {"frames": scene.y, "haze": torch.zeros_like(scene.y)}, plan.start, torch.Generator().manual_seed(1)
    )
    return sample(plan, rule, x, torch.Generator().manual_seed(2))


def by_hand(scene: Scene, mu: float, n: int, start: float, *, sign: float = 1.0) -> tuple[Tensor, Tensor]:
    """The steps without the nuclear norm, pixel by pixel, written out for the Gaussian prior."""
    levels = [start * (0.01 / start) ** (i / (n - 1)) for i in range(n)] + [0.0]
    z = torch.randn(scene.y.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    x, haze = scene.y + start * z, torch.zeros_like(scene.y)
    for t, s in pairwise(levels):
        mean = MEAN + STD**2 / (STD**2 + t**2) * (x - MEAN)
        mean = mean + sign * mu * (scene.y - haze - mean)
        eps = (x - mean) / t
        haze = haze + mu * (scene.y - haze - mean)
        x = mean + s * eps
    return x, haze


@pytest.mark.parametrize("mu", [0.05, 0.3])
def test_without_the_norm_the_run_is_the_recursion_written_out(mu: float, scene: Scene) -> None:
    found = run(scene, nuclear(PRIOR, scene.y, mu=mu, gamma=0.0))
    x, haze = by_hand(scene, mu, 50, 2.0)
    torch.testing.assert_close(found["frames"], x, atol=1e-10, rtol=0)
    torch.testing.assert_close(found["haze"], haze, atol=1e-10, rtol=0)
    wrong, _ = by_hand(scene, mu, 50, 2.0, sign=-1.0)
    assert float((found["frames"] - wrong).abs().max()) > 0.05


def test_with_known_haze_and_strong_consistency_the_frames_are_the_rest(scene: Scene) -> None:
    # mu -> 1 leaves nothing to the prior: X = Y - L at the last row. The haze is held by its own rule's
    # residual, which is then zero.
    rule = nuclear(PRIOR, scene.y, mu=1 - 1e-9, gamma=0.0)
    plan = nuclear_plan(rule.process, 5, start=2.0, end=0.01)
    out = sample(plan, rule, {"frames": scene.y + 0.3, "haze": scene.haze})
    torch.testing.assert_close(out["frames"], scene.frames, atol=1e-7, rtol=0)
    torch.testing.assert_close(out["haze"], scene.haze, atol=1e-7, rtol=0)


@pytest.mark.parametrize(("mu", "gamma"), [(0.3, 0.4), (0.5, 0.2)])
def test_with_known_frames_the_haze_is_the_shrunken_rest(mu: float, gamma: float, scene: Scene) -> None:
    # L <- prox(L + mu (1 - mu) (Y - D - L), gamma) is proximal gradient on mu (1 - mu) |Y - D - L|^2 / 2 +
    # gamma |L|, whose minimum is the shrinkage by gamma / (mu (1 - mu)); it contracts by 1 - mu (1 - mu).
    found = run(scene, nuclear(Known(scene.frames), scene.y, mu=mu, gamma=gamma, shrink="prox"), 200)
    exact = shrink_singular(scene.y - scene.frames, gamma / (mu * (1 - mu)))
    assert float((1 - mu * (1 - mu)) ** 200) < 1e-10
    torch.testing.assert_close(found["haze"], exact, atol=1e-8, rtol=0)
    jacobi = shrink_singular(scene.y - scene.frames, gamma / mu)  # the other order of the two gradients
    assert float((found["haze"] - jacobi).norm() / exact.norm()) > 0.02


def test_the_subgradient_circles_the_same_haze_within_one_step(scene: Scene) -> None:
    mu, gamma = 0.3, 0.4
    rule = nuclear(Known(scene.frames), scene.y, mu=mu, gamma=gamma)
    found = run(scene, rule, 200)
    exact = shrink_singular(scene.y - scene.frames, gamma / (mu * (1 - mu)))
    # Each singular value ends within one step, gamma, of its place: 7 of them at most.
    gap = torch.linalg.svdvals(as_matrix(found["haze"] - exact))
    assert float(gap.max()) <= gamma
    # The wrong sign grows the haze instead: singular values then settle above those of the rest.
    wrong = run(scene, _negative(scene, mu, gamma), 200)
    assert float((wrong["haze"] - exact).norm()) > 5 * float((found["haze"] - exact).norm())


def _negative(scene: Scene, mu: float, gamma: float) -> Any:
    right = nuclear(Known(scene.frames), scene.y, mu=mu, gamma=gamma)
    none = nuclear(Known(scene.frames), scene.y, mu=mu, gamma=0.0)

    @dataclass(frozen=True)
    class Wrong:
        process: Any = right.process

        def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
            a, b = (rule(x, t).mean["haze"] for rule in (right, none))
            return Posterior(mean={**right(x, t).mean, "haze": 2 * b - a})

    return Wrong()


def test_haze_is_found_under_an_exact_prior(scene: Scene) -> None:
    # The best rank-one answer that knows the mean of the frames is off by .198 of the haze (measured): the
    # frames' own spread. Nuclear diffusion, which splits the residual at every step, reaches .53 and leaves
    # half of the error of the recording in the frames.
    size = scene.y.numel() ** 0.5
    rule = nuclear(PRIOR, scene.y, mu=0.3, gamma=0.3 * 0.05 * size, shrink="prox")
    found = run(scene, rule)
    assert rank_of(found["haze"]).tolist() == [1]
    off = float((found["haze"] - scene.haze).norm() / scene.haze.norm())
    assert off < 0.6
    before, after = (float((x - scene.frames).square().mean().sqrt()) for x in (scene.y, found["frames"]))
    assert after < 0.5 * before
    u, s, vh = torch.linalg.svd(as_matrix(scene.y - MEAN), full_matrices=False)
    oracle = ((u[..., :1] * s[..., None, :1]) @ vh[..., :1, :]).reshape(scene.y.shape)
    assert float((oracle - scene.haze).norm() / scene.haze.norm()) < off


def test_a_norm_too_heavy_for_the_haze_leaves_none(scene: Scene) -> None:
    heavy = nuclear(PRIOR, scene.y, mu=0.3, gamma=1e3, shrink="prox")
    assert not run(scene, heavy)["haze"].any()


def test_the_haze_is_never_noised_and_the_frames_are(scene: Scene) -> None:
    rule = nuclear(PRIOR, scene.y, mu=0.1, gamma=0.0)
    x, _ = rule.process.perturb(
        {"frames": scene.y, "haze": scene.haze}, 0.5, torch.Generator().manual_seed(0)
    )
    assert torch.equal(x["haze"], scene.haze)
    # 3360 draws: standard error .006 on a deviation of .5.
    assert float((x["frames"] - scene.y).std()) == pytest.approx(0.5, abs=0.02)
    assert Still().ratio(0.7) == 0
    assert rule.process.ends == PROCESS.ends


def test_the_plan_moves_frames_by_ddim_and_replaces_the_haze() -> None:
    rule = nuclear(PRIOR, torch.zeros(1, 2, 4, 4), mu=0.1, gamma=0.0)
    plan = nuclear_plan(rule.process, 30, start=0.472, end=0.01)
    assert plan.evaluations == 30
    assert plan.start == pytest.approx(0.472)
    assert plan.end == 0
    for row in plan.rows:
        assert row.parts["haze"].keep == 0
        assert row.parts["haze"].pull == (1.0,)
        assert row.parts["frames"].keep == pytest.approx(row.s / row.t)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_fresh_noise_is_drawn_for_the_frames_alone(eta: float, scene: Scene) -> None:
    rule = nuclear(PRIOR, scene.y, mu=0.1, gamma=0.1)
    plan = nuclear_plan(rule.process, 4, start=0.5, end=0.01, eta=eta)
    state = {"frames": scene.y, "haze": torch.zeros_like(scene.y)}
    for step in steps(plan, rule, state, torch.Generator().manual_seed(0)):
        fresh = step.row.parts["frames"].fresh
        assert step.row.parts["haze"].fresh == 0
        assert (step.noise is None) == (fresh == 0)
        assert step.noise is None or set(step.noise) == {"frames"}


def test_one_call_of_the_network_sees_all_frames(gen: torch.Generator) -> None:
    seen: list[tuple[int, ...]] = []

    class Counted(Normal):
        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            seen.append(tuple(x.shape))
            return super().__call__(x, t, cond)

    y = torch.randn(2, 5, 16, 18, generator=gen, dtype=F64)
    rule = nuclear(PerFrame(Counted(MEAN, STD, process=PROCESS)), y, mu=0.1, gamma=0.1)
    state = {"frames": y, "haze": torch.zeros_like(y)}
    sample(nuclear_plan(rule.process, 6, start=0.5, end=0.01), rule, state)
    assert seen == [(10, 1, 16, 18)] * 6


def test_frames_of_a_cine_are_denoised_like_single_pictures(gen: torch.Generator) -> None:
    x = torch.randn(2, 3, 8, 9, generator=gen, dtype=F64)
    whole = PerFrame(PRIOR)(x, 0.3).mean
    for b in range(2):
        for f in range(3):
            torch.testing.assert_close(whole[b, f], PRIOR(x[b, f][None, None], 0.3).mean[0, 0])


def test_every_frame_is_denoised_at_the_time_of_its_cine() -> None:
    clock = wrap(lambda x, t, cond: t[:, None, None, None] * torch.ones_like(x), PROCESS, predicts="x0")
    found = PerFrame(clock)(torch.zeros(2, 3, 4, 4), torch.tensor([0.3, 0.7])).mean
    torch.testing.assert_close(found, torch.tensor([0.3, 0.7])[:, None, None, None].expand(2, 3, 4, 4))


def test_shared_noise_is_one_picture_for_all_frames(gen: torch.Generator) -> None:
    like = torch.zeros(3, 5, 8, 9)
    noise = SharedNoise().noise(like, gen)
    assert noise.shape == like.shape
    assert torch.equal(noise, noise[:, :1].expand(like.shape))
    assert float(noise[:, 0].std()) == pytest.approx(1, abs=0.15)  # 216 draws: standard error .05
    alone = SharedNoise().noise(like[:1], Seeds([4]))
    assert torch.equal(SharedNoise().noise(like, Seeds([3, 4, 5]))[1], alone[0])
    assert SharedNoise().dim(like).tolist() == [72, 72, 72]


def test_windows_of_a_batch_do_not_see_one_another(scene: Scene) -> None:
    both = Scene(torch.cat([scene.y, scene.y + 0.1]), torch.cat([scene.frames] * 2), scene.haze)

    def out(y: Tensor) -> Tensor:
        rule = nuclear(PRIOR, y, mu=0.2, gamma=0.5)
        plan = nuclear_plan(rule.process, 10, start=0.5, end=0.01)
        return sample(plan, rule, {"frames": y + 0.2, "haze": torch.zeros_like(y)})["haze"]

    torch.testing.assert_close(out(both.y)[1:], out(both.y[1:]), atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: nuclear(PRIOR, y, mu=1.0, gamma=0.1), r"mu must lie in \(0, 1\)"),
        (lambda y: nuclear(PRIOR, y, mu=0.1, gamma=-0.1), "gamma must be at least 0"),
        (
            lambda y: nuclear(PRIOR, y, mu=0.1, gamma=0.1, shrink="subgradiet"),
            "Did you mean|unknown shrinkage",
        ),  # type: ignore[arg-type]
    ],
)
def test_settings_out_of_range_are_refused(change: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change(torch.zeros(1, 2, 4, 4))
