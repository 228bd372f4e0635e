"""Control where the answer is known: linear runs, exact gradients, features of made-up sounds."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.denoise import Posterior, wrap
from core.errors import ConfigError, DataError, NumericalError
from core.flow_map import jumps
from core.plan import ancestral, ddim, euler, heun
from core.process import RectifiedFlow
from core.recompute import Recomputed
from core.run import sample
from domains.music.codec import SpecVAE, SpecVAEConfig
from domains.music.codec.specvae import PRESETS
from domains.music.control import (
    ControlSettings,
    Heard,
    Loop,
    Loudness,
    Melody,
    ProbeReader,
    Reference,
    Run,
    Similar,
    SpecReader,
    Structure,
    Sum,
    WaveReader,
    control,
    fit_probe,
    heard_wave,
    loudness_curve,
    pattern,
    rolled,
    tune_classes,
    tune_of,
)
from domains.music.control.features import (
    chroma,
    loudness,
    magnitude,
    melody_probability,
    savgol,
    similarity,
    smoothed,
    smoothed_plane,
    timbre,
)
from domains.music.control.heard import leveller
from domains.music.control.reports import measured, summary, write_history
from domains.music.control.targets import default_weights
from domains.music.frames import FRAME_RATE, HOP, RATE

FLOW = RectifiedFlow()


def sine(hertz: float, seconds: float = 2.0, level: float = 0.3) -> Tensor:
    """A steady tone, (1, samples), whole frames."""
    n = int(seconds * FRAME_RATE) * HOP
    return (level * torch.sin(2 * math.pi * hertz * torch.arange(n, dtype=torch.float64) / RATE))[
        None
    ].float()


# ------------------------------------------------------------------------------------------------ features


@pytest.mark.parametrize(("window", "order"), [(5, 2), (21, 3), (7, 0)])
def test_a_smoother_keeps_polynomials_of_its_order(window: int, order: int) -> None:
    kernel = savgol(window, order)
    assert float(kernel.sum()) == pytest.approx(1)
    x = torch.arange(60, dtype=torch.float64) / 10
    inside = slice(window, -window)
    for power in range(order + 1):
        y = (x**power)[None]
        assert torch.allclose(smoothed(y, kernel)[:, inside], y[:, inside])
    beyond = (x ** (order + 2))[None]
    assert not torch.allclose(smoothed(beyond, kernel)[:, inside], beyond[:, inside], rtol=1e-6)


def test_the_smoother_of_five_points_is_the_published_table() -> None:
    # Savitzky & Golay 1964, table I: quadratic, five points: (-3, 12, 17, 12, -3) / 35.
    assert (savgol(5, 2) * 35).tolist() == pytest.approx([-3, 12, 17, 12, -3])


def test_a_plane_is_smoothed_along_both_axes() -> None:
    x, kernel = torch.randn(1, 12, 12, dtype=torch.float64), savgol(5, 2)
    by_hand = torch.stack([smoothed(row[None], kernel)[0] for row in x[0]])
    by_hand = torch.stack([smoothed(col[None], kernel)[0] for col in by_hand.T]).T
    assert torch.allclose(smoothed_plane(x, kernel)[0], by_hand)


@pytest.mark.parametrize(("window", "order"), [(4, 2), (3, 3)])
def test_a_smoother_that_cannot_be_is_refused(window: int, order: int) -> None:
    with pytest.raises(ConfigError, match="odd window"):
        savgol(window, order)


@pytest.mark.parametrize("window", [1024, 4096])
def test_the_loudness_of_a_sine_is_its_root_mean_square(window: int) -> None:
    mag = magnitude(sine(1000.0), window=window, hop=HOP)
    assert mag.shape[1] == 43
    expected = 20 * math.log10(0.3 / math.sqrt(2))
    assert loudness(mag)[0, 5:-5].tolist() == pytest.approx([expected] * 33, abs=0.01)


def test_silence_is_at_minus_eighty_decibels() -> None:
    assert loudness(torch.zeros(1, 3, 9)).tolist() == [pytest.approx([-80] * 3)]


@pytest.mark.parametrize("pitch", [60, 64, 69, 71, 84])
def test_the_strongest_class_of_a_tone_is_its_pitch(pitch: int) -> None:
    mag = magnitude(sine(440 * 2 ** ((pitch - 69) / 12)), window=4096, hop=HOP)
    found = melody_probability(mag, RATE)
    assert torch.allclose(found.exp().sum(-1), torch.ones(1, 43), atol=1e-5)
    assert bool((found[0, 3:-3].argmax(-1) == pitch % 12).all())


def test_a_bass_does_not_hide_the_tune() -> None:
    both = sine(440.0, level=0.1) + sine(98.0, level=0.5)
    found = melody_probability(magnitude(both, window=4096, hop=HOP), RATE)
    assert bool((found[0, 3:-3].argmax(-1) == 9).all())
    everything = chroma(magnitude(both, window=4096, hop=HOP), RATE, lowest_hz=40.0)
    assert bool((everything[0, 3:-3].argmax(-1) == 7).all())


def test_a_melody_does_not_depend_on_loudness() -> None:
    mag = magnitude(sine(330.0), window=4096, hop=HOP)[:, 3:-3]
    loud, soft = (melody_probability(level * mag, RATE).exp() for level in (1.0, 0.1))
    assert torch.allclose(loud, soft, atol=1e-4)


def test_timbre_is_standardised_along_time_and_similar_to_itself(gen: torch.Generator) -> None:
    mag = torch.rand(2, 30, 513, generator=gen)
    found = timbre(mag, RATE)
    assert found.shape == (2, 30, 19)
    assert found.mean(1).abs().max() < 1e-4
    assert (found.square().mean(1) - 1).abs().max() < 1e-2
    same = similarity(mag, RATE)
    assert torch.allclose(same.diagonal(dim1=1, dim2=2), torch.ones(2, 30), atol=1e-5)
    assert torch.allclose(same, same.mT)


def test_features_do_not_depend_on_the_batch(gen: torch.Generator) -> None:
    wave = 0.1 * torch.randn(3, 8 * HOP, generator=gen)
    for target in (
        Loudness(torch.linspace(-30, -10, 8), window=5),
        Melody(torch.arange(8) % 12),
        Structure(pattern("AB", 8), window=5),
    ):
        whole = target(heard_wave(wave, RATE, HOP))
        alone = torch.cat([target(heard_wave(w[None], RATE, HOP)) for w in wave])
        assert torch.allclose(whole, alone, atol=1e-5)


# ------------------------------------------------------------------------------------------------ targets


def test_a_loudness_that_is_met_costs_nothing_and_its_shape_ignores_the_level() -> None:
    heard = heard_wave(sine(500.0), RATE, HOP)
    met = loudness(heard.spectrum(1024), savgol(21))[0]
    assert float(Loudness(met)(heard)) < 1e-6
    off = met + 3
    off[:5] = math.nan
    assert float(Loudness(off)(heard)) == pytest.approx(9, abs=1e-3)
    ramp = sine(500.0) * torch.linspace(0.1, 1, 43 * HOP)
    rising = Loudness(torch.linspace(-60, -50, 43), form="correlation")
    assert float(rising(heard_wave(ramp, RATE, HOP))) < 0.1
    assert float(rising(heard_wave(ramp.flip(-1), RATE, HOP))) > 1.9


def test_each_song_of_a_batch_can_have_its_own_target(gen: torch.Generator) -> None:
    wave = 0.1 * torch.randn(2, 24 * HOP, generator=gen)
    curves = torch.stack([torch.linspace(-30, -10, 24), torch.linspace(-10, -40, 24)])
    curves[0, :7] = math.nan
    tunes = torch.stack([torch.arange(24) % 12, torch.full((24,), 3)])
    tunes[1, 4:9] = -1
    forms = torch.stack([pattern(parts, 24) for parts in ("ABA", "AB")])
    for each, make in (
        (curves, Loudness),
        (curves, lambda c: Loudness(c, form="correlation")),
        (tunes, Melody),
        (forms, lambda m: Structure(m, window=5)),
    ):
        both = make(each)  # type: ignore[operator]
        heard = heard_wave(wave, RATE, HOP)
        for i, one in enumerate(each):
            alone, own = make(one), heard_wave(wave[i : i + 1], RATE, HOP)  # type: ignore[operator]
            assert torch.allclose(both(heard)[i], alone(own)[0], atol=1e-5)
            for name, value in alone.report(own).items():
                assert torch.allclose(both.report(heard)[name][i], value[0], atol=1e-5)
    with pytest.raises(ConfigError, match="2 of the loudness curve are asked of 1 songs"):
        Loudness(curves)(heard_wave(wave[:1], RATE, HOP))


def test_a_form_is_told_by_its_correlation_whatever_the_contrast() -> None:
    wave = torch.cat([sine(300.0, 1.0), sine(1300.0, 1.0), sine(300.0, 1.0)], 1)
    heard = heard_wave(wave, RATE, HOP)
    found = [
        Structure(pattern("ABA", 63, contrast=c), window=0).report(heard)["structure_r"] for c in (-1, 0, 0.5)
    ]
    assert found[0] > 0.8
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found[0], found[2], atol=1e-5)
    assert Structure(pattern("ABB", 63), window=0).report(heard)["structure_r"] < 0.5


def test_a_melody_counts_only_where_it_is_asked() -> None:
    heard = heard_wave(sine(440.0), RATE, HOP)
    asked = torch.full((43,), -1)
    asked[10:20] = 9
    assert float(Melody(asked)(heard)) < 0.15
    assert float(Melody(asked).report(heard)["melody_accuracy"]) == 1
    asked[15:20] = 3
    assert float(Melody(asked).report(heard)["melody_accuracy"]) == pytest.approx(0.5)
    assert float(Melody(asked)(heard)) > 2


def test_a_pattern_is_one_where_letters_agree() -> None:
    found = pattern("ABA", 6, contrast=-0.5)
    assert found[0].tolist() == [1, 1, -0.5, -0.5, 1, 1]
    assert torch.equal(found, found.T)
    for parts in ("A", "ABCDEFG", "A1"):
        with pytest.raises(ConfigError, match="letters"):
            pattern(parts, 6)


@pytest.mark.parametrize("parts", ["ABA", "ABBA", "ABCA", "ABCDC"])
def test_steady_parts_meet_the_pattern_of_their_form_exactly(parts: str) -> None:
    # Centroids r_k v_k with v on a simplex and r_k = 1 / p_k have a mean of zero, as timbres have.
    frames, names = 60 // len(parts) * len(parts), sorted(set(parts))
    eye = torch.eye(len(names), dtype=torch.float64)
    corner = torch.nn.functional.normalize(eye - 1 / len(names), dim=1)
    letter = torch.tensor([names.index(parts[i * len(parts) // frames]) for i in range(frames)])
    share = torch.bincount(letter) / frames
    timbres = (corner / share[:, None])[letter]
    assert timbres.mean(0).abs().max() < 1e-9
    unit = torch.nn.functional.normalize(timbres, dim=1)
    assert torch.allclose(unit @ unit.T, pattern(parts, frames).double(), atol=1e-6)
    assert (unit @ unit.T - pattern(parts, frames, contrast=0.0)).square().mean() > 0.02


def test_a_song_of_that_form_is_nearer_to_its_pattern() -> None:
    a, b = sine(300.0, 1.0), torch.randn(1, 21 * HOP, generator=torch.Generator().manual_seed(0)) * 0.1
    aba, aab = torch.cat([a, b, a], 1), torch.cat([a, a, b], 1)
    target = Structure(pattern("ABA", 63, contrast=-0.5), window=0)
    assert float(target(heard_wave(aba, RATE, HOP))) < 0.5 * float(target(heard_wave(aab, RATE, HOP)))


def test_given_parts_and_loops_are_mean_squares(gen: torch.Generator) -> None:
    x, y = torch.randn(2, 2, 4, 10, generator=gen)
    heard = Heard(x, RATE, HOP)
    mask = torch.zeros(10)
    mask[3:5] = 1
    expected = (x - y)[..., 3:5].square().flatten(1).mean(1)
    assert torch.allclose(Reference(y, mask)(heard), expected)
    assert torch.allclose(Loop(2)(heard), (x[..., :2] - x[..., -2:]).square().flatten(1).mean(1))
    with pytest.raises(ConfigError, match="1 to 5 frames"):
        Loop(6)(heard)
    with pytest.raises(ConfigError, match="only a wave"):
        Loop(2)(heard_wave(sine(300.0), RATE, HOP))


def test_similarity_is_one_minus_the_cosine() -> None:
    heard = Heard(torch.tensor([[[1.0], [0.0]], [[1.0], [1.0]]]), RATE, HOP)
    target = Similar(lambda h: h.latent[..., 0], torch.tensor([0.0, 2.0]))  # type: ignore[index]
    assert target(heard).tolist() == pytest.approx([1, 1 - math.sqrt(0.5)])
    assert target.report(heard)["style_cosine"].tolist() == pytest.approx([0, math.sqrt(0.5)])


def test_sums_take_the_published_weights() -> None:
    level, tune = Loudness(torch.zeros(8)), Melody(torch.zeros(8, dtype=torch.int64))
    form, loop = Structure(torch.eye(8)), Loop(2)
    assert default_weights({"a": level}) == {"a": 1}
    assert default_weights({"a": level, "b": tune}) == {"a": 0.25, "b": 1}
    assert default_weights({"a": level, "b": form}) == {"a": 1 / 40, "b": 1}
    assert default_weights({"a": level, "b": loop}) == {"a": 1 / 40, "b": 1}
    heard = heard_wave(sine(440.0, 8.5 / FRAME_RATE), RATE, HOP)
    both = Sum({"a": level, "b": tune}, {"a": 2.0, "b": 3.0})
    assert torch.allclose(both(heard), 2 * level(heard) + 3 * tune(heard))
    assert set(both.report(heard)) == {"loudness_mse_db2", "loudness_r", "melody_accuracy"}


def test_targets_of_another_length_are_refused() -> None:
    heard = heard_wave(sine(440.0), RATE, HOP)
    for target in (
        Loudness(torch.zeros(8)),
        Melody(torch.zeros(8, dtype=torch.int64)),
        Structure(torch.eye(8)),
    ):
        with pytest.raises(ConfigError, match="frames"):
            target(heard)


def test_targets_that_ask_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="two times"):
        Loudness(torch.full((8,), math.nan))
    with pytest.raises(DataError, match="pitch classes"):
        Melody(torch.full((8,), -1))
    with pytest.raises(ConfigError, match="at least one target"):
        Sum({})


# ------------------------------------------------------------------------------------------------ readers


def test_the_energies_of_stems_are_added_in_the_spectral_space(gen: torch.Generator) -> None:
    codec = SpecVAE(PRESETS["tiny"]).eval().requires_grad_(False)
    z = torch.randn(2, 2 * codec.channels, 6, generator=gen)
    heard = SpecReader(codec)(z)
    assert heard.spectrum(4096).shape == (2, 6, 513)
    one, two = (codec.magnitude(part, of=(1, 2)).square().mean((1, 2, 3)) for part in z.chunk(2, 1))
    assert torch.allclose(heard.spectrum(1).square().mean((1, 2)), one + two, rtol=1e-4)


def test_readers_hear_each_song_of_a_batch_as_if_alone(gen: torch.Generator) -> None:
    codec = SpecVAE(PRESETS["tiny"]).eval().requires_grad_(False)
    z = torch.randn(3, 2 * codec.channels, 6, generator=gen)
    for reader in (SpecReader(codec), WaveReader(codec)):
        alone = torch.cat([reader(one[None]).spectrum(1024) for one in z])
        assert torch.allclose(reader(z).spectrum(1024), alone, atol=1e-6)
    voice, backing = (codec.decode(stem)[:, 0] for stem in z.chunk(2, 1))
    mixed = WaveReader(codec)(z).wave
    assert mixed is not None
    assert torch.allclose(mixed, voice + backing, atol=1e-6)


def test_levelled_magnitudes_are_as_loud_as_the_wave(gen: torch.Generator) -> None:
    codec = SpecVAE(PRESETS["tiny"]).eval().requires_grad_(False)
    z = torch.randn(2, 2 * codec.channels, 12, generator=gen)
    near, far = SpecReader(codec)(z), WaveReader(codec)(z)
    gain = leveller(near, far)
    assert gain is not None
    apart = (loudness(near.spectrum(1024)) - loudness(far.spectrum(1024))).abs().max()
    assert float(apart) > 0.1
    level = loudness(near.levelled(gain).spectrum(1024))
    assert torch.allclose(level, loudness(far.spectrum(1024)), atol=1e-2)
    tune = melody_probability(near.spectrum(1024), RATE)
    assert torch.allclose(melody_probability(near.levelled(gain).spectrum(1024), RATE), tune, atol=1e-2)
    assert leveller(far, far) is None


def test_the_loudness_of_both_spaces_agrees_on_a_decoded_wave(gen: torch.Generator) -> None:
    codec = SpecVAE(PRESETS["tiny"]).eval().requires_grad_(False)
    z = torch.randn(1, codec.channels, 40, generator=gen)
    near, far = (loudness(r(z).spectrum(1024), savgol(21)) for r in (SpecReader(codec), WaveReader(codec)))
    # The frames of an untrained codec do not agree with one another, so overlap-add loses some energy.
    assert (near - far).abs().mean() < 6


def test_a_spectral_space_needs_a_spectral_codec() -> None:
    with pytest.raises(ConfigError, match="spectral codec"):
        SpecReader(object())


def test_stems_must_be_whole(gen: torch.Generator) -> None:
    with pytest.raises(ConfigError, match="no stems"):
        WaveReader(SpecVAE(SpecVAEConfig(channels=4, fast=8, slow=8)))(torch.randn(1, 6, 4, generator=gen))


def test_a_probe_finds_a_linear_law(gen: torch.Generator) -> None:
    x = torch.randn(4, 3, 200, generator=gen)
    loud = x.mT @ torch.tensor([1.0, -2.0, 0.5]) - 20
    logits = x.mT @ torch.randn(3, 12, generator=gen)
    probe = fit_probe(x, loud, logits, ridge=1e-8)
    found = ProbeReader(probe, RATE, HOP)(x)
    assert torch.allclose(found.probed["loudness"], loud, atol=1e-2)
    assert torch.allclose(found.probed["classes"], logits.log_softmax(-1), atol=1e-2)
    assert float(Loudness(loud[0], window=0)(found)[0]) < 1e-4
    with pytest.raises(ConfigError, match="no spectrum"):
        found.spectrum(1024)


# ---------------------------------------------------------------------------------------------- optimisation


@dataclass(frozen=True)
class Still:
    """The denoiser of normal data N(mean, std^2), under which every run is an affine map of its start."""

    mean: float = 0.5
    std: float = 0.8
    process: Any = FLOW

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return Posterior(mean=self.mean + gain * (x - alpha * self.mean))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(3, 16, 3, padding=1), nn.Conv1d(16, 3, 3, padding=1)
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
        self.calls += 1
        return self.two(torch.tanh(self.one(x) + t[:, None, None]))


def tiny() -> tuple[Net, Any]:
    torch.manual_seed(0)
    net = Net().double()
    return net, wrap(net.requires_grad_(False), FLOW, predicts="flow")


TIMES = [1.0, 0.7, 0.4, 0.2, 0.0]


def ends(heard: Heard) -> Tensor:
    """A loss of latents that is not quadratic."""
    assert heard.latent is not None
    return torch.cos(heard.latent).flatten(1).mean(1)


def plainly(latent: Tensor) -> Heard:
    return Heard(latent, RATE, HOP)


@pytest.mark.parametrize("rule", [euler, heun, ddim])
def test_the_gradient_is_that_of_finite_differences(rule: Any, gen: torch.Generator) -> None:
    _, denoiser = tiny()
    run = Run(rule(FLOW, [0.99, *TIMES[1:]]), denoiser)
    x = torch.randn(2, 3, 5, generator=gen, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(ends(plainly(rolled(run, x))).sum(), x)
    way = torch.randn(x.shape, generator=gen, dtype=torch.float64)
    with torch.no_grad():
        up, down = (ends(plainly(rolled(run, x + h * way))).sum() for h in (1e-5, -1e-5))
    assert float((grad * way).sum()) == pytest.approx(float(up - down) / 2e-5, rel=1e-6)


def test_checkpoints_change_the_cost_and_not_the_gradient(gen: torch.Generator) -> None:
    net, denoiser = tiny()
    run = Run(euler(FLOW, TIMES), denoiser)
    x = torch.randn(2, 3, 5, generator=gen, dtype=torch.float64, requires_grad=True)
    found, calls = [], []
    for checkpointed in (True, False):
        net.calls = 0
        out = rolled(run, x, checkpointed=checkpointed)
        found.append(torch.autograd.grad(ends(plainly(out)).sum(), x)[0])
        calls.append(net.calls)
    assert torch.equal(*found)
    assert calls == [8, 4]
    assert torch.equal(out, sample(run.plan, denoiser, x))


def test_a_linear_run_reaches_its_target_exactly(gen: torch.Generator) -> None:
    # One step: x0 = mean + gain x at t = 1, where the gain is 0; so begin at 0.5 where it is not.
    plan = euler(FLOW, [0.5, 0.25, 0.0])
    run, x = Run(plan, Still()), torch.randn(3, 2, 4, generator=gen)
    goal = torch.full((2, 4), 1.3)
    found = control(
        run, run, x, Reference(goal, torch.ones(4)), plainly, ControlSettings(200, lr=0.1, check_every=50)
    )
    assert bool((found.after < 1e-5).all())
    assert bool((found.after < found.before).all())
    # The start that leads there is unique and known: invert the affine map.
    zero, one = (rolled(run, torch.full((1, 1, 1), v)) for v in (0.0, 1.0))
    start = (1.3 - zero) / (one - zero)
    assert torch.allclose(found.noise, start.expand(3, 2, 4), atol=0.02)
    assert torch.allclose(rolled(run, found.noise), found.latent)


def test_a_student_of_one_jump_steers_four(gen: torch.Generator) -> None:
    # The exact flow map of normal data, so that one jump and four end in the same place.
    @dataclass(frozen=True)
    class Exact:
        process: Any = FLOW

        def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
            t, s = float(t), float(cond["to"][0])
            std, mean = 0.8, 0.5

            def spread(u: float) -> float:
                return math.sqrt((1 - u) ** 2 * std**2 + u**2)

            end = (1 - s) * mean + spread(s) / spread(t) * (x - (1 - t) * mean)
            return Posterior(mean=(end - s / t * x) / (1 - s - (1 - t) * s / t))

    one, four = (Run(*jumps(Exact(), grid)) for grid in ([1.0, 0.0], TIMES))
    x = torch.randn(2, 1, 6, generator=gen, dtype=torch.float64)
    assert torch.allclose(rolled(one, x), rolled(four, x))
    goal = Reference(torch.full((1, 6), -0.2), torch.ones(6))
    found = control(one, four, x, goal, plainly, ControlSettings(200, lr=0.05, check_every=20))
    assert bool((found.after < 1e-4).all())
    assert torch.allclose(found.after, found.surrogate, atol=1e-9)


def test_the_best_iterate_is_kept_by_its_decoded_loss(gen: torch.Generator) -> None:
    # A surrogate that pulls the wrong way: the first noise must win.
    run = Run(euler(FLOW, [0.5, 0.0]), Still())
    away = Run(euler(FLOW, [0.5, 0.0]), Flipped())
    x = torch.randn(4, 2, 3, generator=gen)
    goal = Reference(torch.full((2, 3), 3.0), torch.ones(3))
    found = control(away, run, x, goal, plainly, ControlSettings(30, lr=0.1, check_every=5, corrected=False))
    assert found.best.tolist() == [0] * 4
    assert torch.equal(found.after, found.before)
    assert torch.equal(found.noise, x)
    decoded = [t.decoded for t in found.history if t.decoded is not None]
    assert len(decoded) == 7
    assert bool((decoded[-1] > decoded[0]).all())


def test_a_surrogate_needs_to_be_right_in_its_slope_alone(gen: torch.Generator) -> None:
    # Same gain, another mean: its result is off by a constant.
    run, off = Run(euler(FLOW, [0.5, 0.0]), Still()), Run(euler(FLOW, [0.5, 0.0]), Still(mean=2.0))
    x, goal = torch.randn(2, 2, 3, generator=gen), Reference(torch.full((2, 3), 0.9), torch.ones(3))
    how = ControlSettings(100, lr=0.05, check_every=10)
    assert bool((control(off, run, x, goal, plainly, how).after < 1e-3).all())
    plain = control(off, run, x, goal, plainly, replace(how, corrected=False))
    assert bool((plain.after > 0.05).all())


@dataclass(frozen=True)
class Flipped:
    process: Any = FLOW

    def __call__(self, x: Tensor, t: Any, cond: Any = None) -> Posterior:
        return Posterior(mean=-Still()(x, t).mean)


def test_samples_do_not_see_one_another(gen: torch.Generator) -> None:
    _, denoiser = tiny()
    run = Run(euler(FLOW, TIMES), denoiser)
    x = torch.randn(3, 3, 5, generator=gen, dtype=torch.float64)
    how = ControlSettings(6, lr=0.05, check_every=2)
    whole = control(run, run, x, ends, plainly, how)
    for i in range(3):
        alone = control(run, run, x[i : i + 1], ends, plainly, how)
        assert torch.allclose(whole.noise[i], alone.noise[0], atol=1e-12)
        assert int(whole.best[i]) == int(alone.best[0])


def test_the_penalty_holds_the_norm(gen: torch.Generator) -> None:
    run = Run(euler(FLOW, [0.5, 0.0]), Still())
    x = torch.randn(8, 2, 20, generator=gen)
    goal = Reference(torch.full((2, 20), 4.0), torch.ones(20))
    sizes = []
    for weight in (0.0, 100.0):
        found = control(run, run, x, goal, plainly, ControlSettings(80, 0.05, norm_weight=weight))
        sizes.append(found.history[-1].square)
    assert bool((sizes[0] > 2).all())
    assert (sizes[1] - 1).abs().max() < 0.3


def test_the_calls_of_the_network_are_counted_exactly(gen: torch.Generator) -> None:
    net, denoiser = tiny()
    one, four = Run(euler(FLOW, [1.0, 0.0]), denoiser), Run(euler(FLOW, TIMES), denoiser)
    x = torch.randn(1, 3, 5, generator=gen, dtype=torch.float64)
    for checkpointed, cost in ((True, 2), (False, 1)):
        net.calls = 0
        found = control(
            one, four, x, ends, plainly, ControlSettings(5, check_every=2, checkpointed=checkpointed)
        )
        # Forward passes: five iterations, the last look, and four decodings of four calls (0, 2, 4 and 5).
        assert net.calls == 5 * cost + 1 + 4 * 4
        assert found.calls == net.calls


def test_a_decoder_that_is_the_surrogate_is_walked_once(gen: torch.Generator) -> None:
    net, denoiser = tiny()
    run, same = Run(euler(FLOW, TIMES), denoiser), Run(euler(FLOW, TIMES), denoiser)
    x = torch.randn(1, 3, 5, generator=gen, dtype=torch.float64)
    how = ControlSettings(4, lr=0.05, check_every=2, checkpointed=False)
    net.calls = 0
    once = control(run, run, x, ends, plainly, how)
    assert net.calls == once.calls == 5 * 4
    twice = control(run, same, x, ends, plainly, how)
    assert twice.calls == 8 * 4
    assert torch.equal(once.noise, twice.noise)
    assert torch.allclose(once.after, twice.after, atol=1e-12)


def test_calls_are_stored_where_a_surrogate_makes_two_and_repeated_where_it_makes_more(
    gen: torch.Generator,
) -> None:
    net, denoiser = tiny()
    x = torch.randn(1, 3, 5, generator=gen, dtype=torch.float64)
    for times, each in (([1.0, 0.0], 1), ([1.0, 0.5, 0.0], 2), (TIMES, 8)):
        run = Run(euler(FLOW, times), denoiser)
        net.calls = 0
        found = control(run, run, x, ends, plainly, ControlSettings(3, check_every=5))
        assert net.calls == found.calls == 3 * each + len(times) - 1


def test_a_plan_that_draws_noise_is_refused() -> None:
    with pytest.raises(ConfigError, match="deterministic"):
        Run(ancestral(FLOW, TIMES), Still())


def test_plans_that_begin_apart_are_refused(gen: torch.Generator) -> None:
    a, b = Run(euler(FLOW, [0.5, 0.0]), Still()), Run(euler(FLOW, [0.6, 0.0]), Still())
    with pytest.raises(ConfigError, match="different times"):
        control(a, b, torch.randn(1, 1, 2, generator=gen), ends, plainly)


def test_a_loss_that_is_not_finite_ends_the_run(gen: torch.Generator) -> None:
    run = Run(euler(FLOW, [0.5, 0.0]), Still())

    def broken(heard: Heard) -> Tensor:
        return ends(heard) * math.nan

    with pytest.raises(NumericalError, match="iteration 0"):
        control(run, run, torch.randn(1, 1, 2, generator=gen), broken, plainly)
    with pytest.raises(ConfigError, match="one loss per sample"):
        control(run, run, torch.randn(2, 1, 2, generator=gen), lambda h: ends(h).sum(), plainly)


def test_a_checkpointed_denoiser_is_the_denoiser(gen: torch.Generator) -> None:
    _, denoiser = tiny()
    x = torch.randn(4, 3, 6, generator=gen, dtype=torch.float64)
    assert torch.equal(Recomputed(denoiser)(x, 0.4).mean, denoiser(x, 0.4).mean)


@pytest.mark.parametrize("space", ["wave", "spec"])
def test_the_loudness_of_a_decoded_song_is_steered(space: str, gen: torch.Generator) -> None:
    torch.manual_seed(1)
    codec = SpecVAE(PRESETS["tiny"]).eval().requires_grad_(False)
    with torch.no_grad():  # latents move the level by some decibels
        codec.decoder.straight.weight.copy_(
            0.1 * torch.rand(codec.decoder.straight.weight.shape, generator=gen)
        )
        codec.decoder.straight.bias.fill_(0.3)
    reader = WaveReader(codec) if space == "wave" else SpecReader(codec)
    run = Run(euler(FLOW, [0.5, 0.0]), Still(0.0, 1.0))
    x = torch.randn(1, codec.channels, 16, generator=gen)
    plain = loudness(reader(rolled(run, x)).spectrum(1024), savgol(9))
    target = Loudness(plain[0].mean() + torch.linspace(-3, 3, 16), window=9)
    how = ControlSettings(20, lr=0.1, check_every=10)
    found = control(run, run, x, target, reader, how, judge=WaveReader(codec))
    assert float(found.after) < 0.3 * float(found.before)
    # A target that was never asked of the optimiser does not come by itself: control by a flat one fails it.
    flat = control(run, run, x, Loudness(plain[0].mean().expand(16), window=9), reader, how)
    heard = WaveReader(codec)(flat.latent)
    assert float(target(heard)) > 2 * float(found.after)


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize(("name", "ends_db"), [("crescendo", (-30, -12)), ("swell", (-30, -30))])
def test_named_curves_have_their_ends(name: str, ends_db: tuple[float, float]) -> None:
    curve = loudness_curve(name, 11)
    assert (float(curve[0]), float(curve[-1])) == pytest.approx(ends_db)
    assert float(curve.max()) == pytest.approx(-12)


def test_a_curve_is_read_from_a_table_and_does_not_matter_outside_it(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("seconds,dB\n1,-30\n2,-10\n", "utf-8")
    curve = loudness_curve(path, 64)
    at = (np.arange(64) + 0.5) / FRAME_RATE
    inside = (at >= 1) & (at <= 2)
    assert curve[inside].tolist() == pytest.approx((-30 + 20 * (at[inside] - 1)).tolist(), abs=1e-3)
    assert bool(torch.isnan(curve[~torch.from_numpy(inside)]).all())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,-10\n", "1 points"),
        ("0,-10\n1,loud\n", "line 2: expected 'seconds,dB', got '1,loud'"),
        ("1,-10\n1,-20\n", "line 2: times must rise"),
        ("100,-10\n101,-20\n", "covers 100 to 101 s"),
    ],
)
def test_a_table_that_is_no_curve_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        loudness_curve(path, 64)


def test_an_unknown_curve_is_named() -> None:
    with pytest.raises(ConfigError, match="crescendo"):
        loudness_curve("cresendo", 10)


def _midi(path: Path, *tracks: list[tuple[float, float, int]]) -> Path:
    mido = pytest.importorskip("mido", reason="extra: music")
    midi = mido.MidiFile(ticks_per_beat=480)
    for index, notes in enumerate(tracks):
        track = mido.MidiTrack()
        midi.tracks.append(track)
        events = []
        if index == 0:
            events.append((0, 0, mido.MetaMessage("set_tempo", tempo=1000000)))  # one beat a second
        for start, end, pitch in notes:
            events.append((round(start * 480), 2, mido.Message("note_on", note=pitch, velocity=80)))
            events.append((round(end * 480), 1, mido.Message("note_off", note=pitch)))
        now = 0
        for tick, _, message in sorted(events, key=lambda event: event[:2]):
            track.append(message.copy(time=tick - now))
            now = tick
    midi.save(path)
    return path


def test_a_tune_is_read_with_its_times(tmp_path: Path) -> None:
    notes = [(0.0, 1.0, 60), (1.0, 1.5, 64), (2.0, 3.0, 67)]
    tune = tune_of(_midi(tmp_path / "a.mid", notes))
    assert not tune.warnings
    assert [n[2] for n in tune.notes] == [60, 64, 67]
    assert [n[0] for n in tune.notes] == pytest.approx([0, 1, 2], abs=1e-3)
    classes = tune_classes(tune, 70, transpose=2)
    assert classes[10] == 2
    assert classes[26] == 6
    assert classes[38] == -1
    assert classes[50] == 9


def test_of_several_voices_the_top_line_is_used_and_said(tmp_path: Path) -> None:
    top, low = [(0.0, 1.0, 72), (2.0, 3.0, 74)], [(0.0, 3.0, 48)]
    path = _midi(tmp_path / "b.mid", top, low)
    tune = tune_of(path)
    assert [n[2] for n in tune.notes] == [72, 48, 74]
    assert "top line" in tune.warnings[0]
    assert [n[2] for n in tune_of(path, voice=2).notes] == [48]
    with pytest.raises(DataError, match="voices 1 to 2, got 3"):
        tune_of(path, voice=3)


def test_files_that_hold_no_tune_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no notes"):
        tune_of(_midi(tmp_path / "empty.mid", []))
    (tmp_path / "text.mid").write_text("no midi", "utf-8")
    with pytest.raises(DataError, match="cannot be read as MIDI"):
        tune_of(tmp_path / "text.mid")


def test_figures_come_from_the_saved_file(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile", reason="extra: music")
    wave = sine(440.0)
    soundfile.write(tmp_path / "a.flac", wave[0].numpy(), RATE)
    target = Sum({"tune": Melody(torch.full((43,), 9)), "loop": Loop(2)}, {"tune": 1.0, "loop": 1.0})
    found = measured(tmp_path / "a.flac", target, rate=RATE, hop=HOP, frames=43)
    assert found == {"melody_accuracy": pytest.approx(1)}


def test_the_history_is_one_line_an_iteration(tmp_path: Path, gen: torch.Generator) -> None:
    run = Run(euler(FLOW, [0.5, 0.0]), Still())
    found = control(run, run, torch.randn(2, 1, 4, generator=gen), ends, plainly, ControlSettings(3))
    write_history(tmp_path / "history.jsonl", found.history)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text("utf-8").splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert rows[1]["decoded"] is None
    report = summary(found, {"a": 1.0}, {"a": 0.5})
    assert report["saved_after"] == {"a": 0.5}
    assert len(report["loss_after"]) == 2
    json.dumps(report)
