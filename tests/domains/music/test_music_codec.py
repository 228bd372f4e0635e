"""Codecs where the answer is known: exact spectra and phases, counted parameters, pieces and wholes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import CheckpointError, ConfigError, DataError, ModelMismatch
from core.state import Seeds
from core.train import Batch
from domains.music.codec import (
    PRESETS,
    Law,
    SpecVAE,
    SpecVAEConfig,
    chunked,
    codec_of,
    drawn,
    load_codec,
    save_codec,
)
from domains.music.codec.adversarial import Adversarial, Critic, Duel, codec_weights, hinge, matching
from domains.music.codec.augment import Crops, lossy
from domains.music.codec.latents import INDEX, encode_corpus, encoder_digest, read_latents
from domains.music.codec.losses import (
    MultiSTFT,
    SpectralLoss,
    WaveLoss,
    a_weighting,
    angular,
    kl,
    stft_distance,
)
from domains.music.codec.oobleck import FULL, Oobleck, OobleckConfig, Snake
from domains.music.codec.spectrum import (
    BINS,
    STEP,
    advance,
    frames,
    integrate,
    levels,
    magnitudes,
    owners,
    refined,
    synthesis,
    tilt,
    wrapped,
)
from domains.music.codec.specvae import folded, unfolded
from domains.music.codec.training import CodecRecipe, Trainee, standardised, train
from domains.music.frames import HOP, RATE

TINY = PRESETS["tiny"]
MONO = OobleckConfig(channels=4, wave_channels=1, width=4, multipliers=(1, 2), strides=(4, 8))


def tone(seconds: float, *partials: float, rate: int = RATE) -> Tensor:
    """Steady sines of amplitude 0.3, (1, 1, samples), whole latent frames."""
    n = int(seconds * rate) // HOP * HOP
    t = torch.arange(n, dtype=torch.float64) / rate
    return sum(0.3 * torch.sin(2 * math.pi * f * t + i) for i, f in enumerate(partials)).float()[None, None]  # type: ignore[union-attr]


def stirred(codec: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """A codec whose weights are far from their start, so that nothing cancels."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in codec.parameters():
            p += 0.05 * torch.randn(p.shape, generator=gen)
    return codec.eval().requires_grad_(False)


def log_error(x: Tensor, y: Tensor) -> float:
    """Mean absolute difference of log spectra, dB, above -80 dB."""
    return float((levels(frames(x)) - levels(frames(y))).abs().mean()) * 20 / math.log(10)


# ------------------------------------------------------------------------------------------------ spectrum


def test_the_inverse_transform_gives_back_the_wave(gen: torch.Generator) -> None:
    x = torch.randn(2, 1, 9 * STEP, generator=gen, dtype=torch.float64)
    assert frames(x).shape == (2, 1, 9, BINS)
    assert torch.allclose(synthesis(frames(x)), x, atol=1e-12)


def test_a_full_scale_sine_has_magnitude_one() -> None:
    # At a bin's centre, away from the ends.
    x = tone(1.0, 40 * RATE / 1024) / 0.3
    assert float(frames(x).abs()[0, 0, 20, 40]) == pytest.approx(1, abs=1e-3)


def test_magnitudes_invert_levels(gen: torch.Generator) -> None:
    s = torch.randn(3, 4, BINS, generator=gen, dtype=torch.complex128)
    assert torch.allclose(magnitudes(levels(s)), s.abs())


def test_the_advance_of_a_steady_tone_is_its_distance_from_the_bin() -> None:
    f = 40.3 * RATE / 1024
    phase = frames(tone(1.0, f)).angle()
    expected = 2 * math.pi * STEP / 1024 * 0.3
    assert float(advance(phase)[0, 0, 30, 40]) == pytest.approx(expected, abs=1e-3)
    # About the middle of the window the main lobe has one phase.
    assert tilt(phase)[0, 0, 30, 40:42].abs().max() < 0.02


def test_every_bin_belongs_to_its_nearest_peak(gen: torch.Generator) -> None:
    level = torch.randn(30, 50, generator=gen)
    level[3], level[4], level[5] = 0, torch.arange(50.0), -torch.arange(50.0)
    assert torch.equal(owners(level), _owners_by_search(level))


def _owners_by_search(level: Tensor) -> Tensor:
    out = torch.zeros(level.shape, dtype=torch.int64)
    for n, row in enumerate(level.tolist()):
        far = [-math.inf, -math.inf, *row, -math.inf, -math.inf]
        peaks = [
            i
            for i in range(len(row))
            if row[i] >= max(far[i], far[i + 1]) and row[i] > max(far[i + 3], far[i + 4])
        ]
        out[n] = torch.tensor([min(peaks, key=lambda p: (abs(p - i), p)) for i in range(len(row))])
    return out


@pytest.mark.parametrize("kind", ["tones", "glide", "clicks"])
def test_exact_slopes_give_back_the_wave(kind: str, gen: torch.Generator) -> None:
    x = tone(2.0, 220.0, 447.0, 1311.0)
    if kind == "glide":
        t = torch.arange(x.shape[-1]) / RATE
        x = 0.3 * torch.sin(2 * math.pi * (300 * t + 100 * t**2))[None, None]
    if kind == "clicks":
        x = torch.zeros_like(x)
        x[..., 3000::5000] = 0.5
    x = x + 1e-3 * torch.randn(x.shape, generator=gen)
    spectrum = frames(x)
    level, phase = levels(spectrum), spectrum.angle()
    made = synthesis(torch.polar(magnitudes(level), integrate(level, advance(phase), tilt(phase))))
    # Measured 0.1 to 0.3 dB; without the tilt 2 dB, at random phases 4 dB.
    assert log_error(made, x) < 0.4
    wrong = synthesis(torch.polar(magnitudes(level), integrate(level, advance(phase), 0 * tilt(phase))))
    assert log_error(wrong, x) > 1


def test_a_steady_tone_stays_steady() -> None:
    f = 440.0
    x = tone(8.0, f)
    spectrum = frames(x)
    level, phase = levels(spectrum), spectrum.angle()
    made = synthesis(torch.polar(magnitudes(level), integrate(level, advance(phase), tilt(phase))))
    loud = made[0, 0, STEP * 8 : -STEP * 8].unfold(-1, 2048, 2048).square().mean(-1).sqrt()
    assert float(loud.std() / loud.mean()) < 0.01


def test_short_or_ragged_waves_are_refused() -> None:
    with pytest.raises(DataError, match="multiple of 256"):
        frames(torch.zeros(1, 300))
    with pytest.raises(DataError, match="at least 512"):
        frames(torch.zeros(1, 256))


# ------------------------------------------------------------------------------------------------ networks


def test_the_full_oobleck_has_157_million_parameters() -> None:
    with torch.device("meta"):
        codec = Oobleck(FULL)
    assert sum(p.numel() for p in codec.parameters()) == pytest.approx(157e6, rel=0.02)
    assert (codec.hop, codec.channels, codec.rate) == (2048, 64, 44100)
    assert codec.rate / codec.hop == pytest.approx(RATE / HOP)


def test_the_base_specvae_has_six_point_eight_million_parameters() -> None:
    with torch.device("meta"):
        codec = SpecVAE(PRESETS["base"])
    assert sum(p.numel() for p in codec.parameters()) == pytest.approx(6.8e6, rel=0.01)


@pytest.mark.parametrize("channels", [1, 2])
def test_one_frame_of_latents_is_1024_samples(channels: int) -> None:
    codec = SpecVAE(SpecVAEConfig(**{**vars(TINY), "wave_channels": channels}))
    law = codec.encode(torch.zeros(2, channels, 3 * HOP + 1))
    assert law.mean.shape == law.std.shape == (2, TINY.channels, 4)
    assert codec.decode(law.mean).shape == (2, channels, 4 * HOP)
    assert bool((law.std > 0).all())


def test_middle_and_side_are_undone(gen: torch.Generator) -> None:
    x = torch.randn(2, 2, 64, generator=gen)
    assert torch.allclose(unfolded(folded(x)), x, atol=1e-6)
    same = torch.randn(1, 1, 64, generator=gen).expand(1, 2, 64)
    assert bool((folded(same)[:, 1] == 0).all())


def test_the_snake_follows_its_formula() -> None:
    snake = Snake(2)
    with torch.no_grad():
        snake.a.copy_(torch.tensor([0.0, 1.0]))
        snake.b.copy_(torch.tensor([0.5, -0.5]))
    x = torch.tensor([[[0.7], [0.7]]])
    expected = [0.7 + math.sin(0.7) ** 2 / math.exp(0.5), 0.7 + math.sin(0.7 * math.e) ** 2 / math.exp(-0.5)]
    assert snake(x).flatten().tolist() == pytest.approx(expected, rel=1e-5)


def _codecs() -> list[torch.nn.Module]:
    stereo = SpecVAE(SpecVAEConfig(**{**vars(TINY), "wave_channels": 2}))
    return [stirred(codec) for codec in (SpecVAE(TINY), stereo, Oobleck(MONO, rate=RATE))]


def test_rounds_keep_phases_that_agree_and_none_keeps_any(gen: torch.Generator) -> None:
    spectrum = frames(torch.randn(2, 40 * STEP, generator=gen, dtype=torch.float64))
    mag, phase = spectrum.abs(), spectrum.angle()
    assert torch.allclose(refined(mag, phase, 0), torch.polar(torch.ones_like(mag), phase), atol=1e-12)
    for rounds in (1, 2, 3):  # the phases of a true wave are a fixed point
        assert torch.allclose(mag * refined(mag, phase, rounds), spectrum, atol=1e-9)
    wild = 6 * torch.rand(phase.shape, generator=gen, dtype=torch.float64)
    far = [
        float((frames(synthesis(mag * refined(mag, wild, n))).abs() - mag).square().mean()) for n in (0, 2, 8)
    ]
    assert far[0] > far[1] > far[2]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["specvae", "specvae stereo", "oobleck"])
def test_pieces_give_the_whole(which: int, gen: torch.Generator) -> None:
    codec = _codecs()[which]
    piece = 4 * codec.reach + 5
    wave = 0.1 * torch.randn(1, codec.wave_channels, codec.hop * (2 * piece + 7), generator=gen)  # type: ignore[operator]
    whole, parts = codec.encode(wave), chunked.encode(codec, wave, frames=piece)  # type: ignore[operator]
    assert torch.allclose(whole.mean, parts.mean, atol=1e-5)
    made, joined = codec.decode(whole.mean), chunked.decode(codec, whole.mean, frames=piece)  # type: ignore[operator]
    assert made.shape == joined.shape
    assert float((made - joined).norm() / made.norm()) < 1e-3  # -60 dB, over everything


def test_pieces_that_overlap_too_little_would_be_heard(gen: torch.Generator) -> None:
    codec = _codecs()[2]
    latent = torch.randn(1, codec.channels, 60, generator=gen)  # type: ignore[arg-type]
    codec.reach = 0  # type: ignore[assignment]
    made, joined = codec.decode(latent), chunked.decode(codec, latent, frames=20)  # type: ignore[operator]
    assert float((made - joined).norm() / made.norm()) > 1e-3


def test_pieces_shorter_than_the_reach_are_refused() -> None:
    codec = SpecVAE(TINY)
    with pytest.raises(ConfigError, match="too short"):
        chunked.decode(codec, torch.zeros(1, TINY.channels, 100), frames=4 * codec.reach)


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (torch.zeros(1, 2, HOP), r"\(B, 1, samples\)"),
        (torch.zeros(1, 1, 0), r"\(B, 1, samples\)"),
        (torch.full((1, 1, HOP), math.nan), "not finite"),
    ],
)
def test_a_wave_that_does_not_fit_is_refused(wave: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SpecVAE(TINY).encode(wave)


@pytest.mark.parametrize("wave_channels", [1, 2])
def test_some_frames_of_the_magnitudes_are_those_of_all(wave_channels: int, gen: torch.Generator) -> None:
    codec = stirred(SpecVAE(replace(TINY, wave_channels=wave_channels)))
    z = torch.randn(2, TINY.channels, 5, generator=gen)
    whole = magnitudes(codec.parts(codec.outline(z)).level)  # type: ignore[operator]
    assert torch.allclose(codec.magnitude(z), whole, atol=1e-6)  # type: ignore[operator]
    some = whole.unflatten(2, (5, 4))[:, :, :, [1, 2]].flatten(2, 3)
    assert torch.allclose(codec.magnitude(z, of=(1, 2)), some, atol=1e-6)  # type: ignore[operator]


def test_gradients_pass_through_the_magnitudes(gen: torch.Generator) -> None:
    codec = stirred(SpecVAE(TINY)).double()
    z = torch.randn(1, TINY.channels, 3, generator=gen, dtype=torch.float64, requires_grad=True)

    def total(latent: Tensor) -> Tensor:
        return codec.magnitude(latent).square().sum()  # type: ignore[operator]

    (grad,) = torch.autograd.grad(total(z), z)
    way = torch.randn(z.shape, generator=gen, dtype=torch.float64)
    with torch.no_grad():
        slope = (total(z + 1e-6 * way) - total(z - 1e-6 * way)) / 2e-6
    assert float((grad * way).sum()) == pytest.approx(float(slope), rel=1e-5)
    (through,) = torch.autograd.grad(codec.decode(z).square().sum(), z)  # type: ignore[operator]
    assert bool(torch.isfinite(through).all())
    assert float(through.norm()) > 0


# ------------------------------------------------------------------------------------------------ losses


def test_the_divergence_of_normal_laws_is_the_closed_form() -> None:
    law = Law(torch.full((2, 3, 5), 0.7), torch.full((2, 3, 5), 0.4))
    one = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.7, 0.4), torch.distributions.Normal(0.0, 1.0)
    )
    assert kl(law).tolist() == pytest.approx([3 * float(one)] * 2)  # summed over channels, averaged over time


def test_the_spectral_distance_of_a_gain_is_known() -> None:
    x = tone(1.0, 300.0, 1000.0) + 0.1 * torch.randn(1, 1, 21504, generator=torch.Generator().manual_seed(1))
    # |X| (1 - g): the linear term is 1 - g, the log term -ln g where the floor does not matter.
    assert float(stft_distance(0.5 * x, x, 512)) == pytest.approx(0.5 + math.log(2), abs=0.02)
    assert float(stft_distance(x, x, 512)) == 0


def test_a_stereo_distance_is_middle_and_side_and_half_of_left_and_right(gen: torch.Generator) -> None:
    x, y = 0.1 * torch.randn(2, 1, 2, 4096, generator=gen)
    loss = MultiSTFT((512, 256))
    parts = [sum(stft_distance(f(x), f(y), n) for n in (512, 256)) / 2 for f in (folded, lambda a: a)]
    assert float(loss(x, y)) == pytest.approx(float(parts[0] + 0.5 * parts[1]), rel=1e-5)


def test_the_a_curve_has_its_tabled_values() -> None:
    # IEC 61672-1, table 3: -19.1 dB at 100 Hz, 0 at 1 kHz, 1.0 at 4 kHz, -2.5 at 10 kHz.
    curve = 20 * torch.log10(a_weighting(44100, 44100)[1:])
    assert [float(curve[f - 1]) for f in (100, 1000, 4000, 10000)] == pytest.approx(
        [-19.1, 0, 1.0, -2.5], abs=0.06
    )


def test_angles_that_differ_by_a_turn_are_equal(gen: torch.Generator) -> None:
    a = torch.randn(2, 5, generator=gen)
    weight = torch.ones(2, 5)
    assert angular(a + 2 * math.pi, a, weight).abs().max() < 1e-6
    assert angular(a + math.pi, a, weight).tolist() == pytest.approx([2, 2])


class Known(torch.nn.Module):
    """A codec whose decoder answers with the truth."""

    def __init__(self, codec: SpecVAE, outline: Tensor) -> None:
        super().__init__()
        self.codec, self.outline = codec, outline

    def forward(self, wave: Tensor, gen: object) -> tuple[Law, Tensor]:
        zero = torch.zeros(len(wave), 8, wave.shape[-1] // HOP)
        return Law(zero, torch.ones_like(zero)), self.outline

    def parts(self, outline: Tensor) -> object:
        return self.codec.parts(outline)


def test_the_spectral_loss_of_the_truth_is_zero(gen: torch.Generator) -> None:
    x = tone(0.5, 300.0, 1000.0) + 0.01 * torch.randn(1, 1, 10240, generator=gen)
    spectrum = frames(x)
    phase = spectrum.angle()
    truth = torch.stack([(levels(spectrum) + 5) / 3, advance(phase), tilt(phase)])  # (3, 1, 1, T, bins)
    outline = truth.permute(1, 0, 2, 4, 3).flatten(1, 3)
    for part, scale in ((0, 1.0), (1, math.pi), (2, math.pi)):
        off = truth.clone()
        model = Trainee(Known(SpecVAE(TINY), outline))
        loss = SpectralLoss(kl_weight=1.0)
        assert float(loss(model, Batch(x), Seeds([0]))) < 1e-4
        off[part] += scale
        wrong = Trainee(Known(SpecVAE(TINY), off.permute(1, 0, 2, 4, 3).flatten(1, 3)))
        assert float(loss(wrong, Batch(x), Seeds([0]))) > 0.3


def test_hinge_and_matching_have_their_values() -> None:
    real, made = [torch.tensor([[2.0, 0.5]])], [torch.tensor([[-3.0, 0.5]])]
    assert float(hinge(real, made)) == pytest.approx(0.25 + 0.75)
    assert float(matching([[torch.tensor([[1.0, 2.0]])]], [[torch.tensor([[0.0, 4.0]])]])) == pytest.approx(
        1.5
    )


def test_each_side_of_a_duel_has_its_own_gradient(gen: torch.Generator) -> None:
    torch.manual_seed(0)
    codec = Oobleck(MONO, rate=RATE)
    duel = Duel(codec, Critic(width=4, windows=(128,)))
    x = 0.1 * torch.randn(2, 1, 1024, generator=gen)
    objective = Adversarial(MultiSTFT((128,)), kl_weight=0.0, adversarial=1.0, matching=0.0)
    objective(Trainee(duel), Batch(x), Seeds([0, 1])).sum().backward()
    got = {name: p.grad.clone() for name, p in duel.named_parameters() if p.grad is not None}
    # By hand, one after the other.
    duel.zero_grad()
    _, made = codec(x, Seeds([0, 1]))
    hinge(duel.critic(x)[0], duel.critic(made.detach())[0]).sum().backward()
    for name, p in duel.critic.named_parameters():
        assert p.grad is not None
        assert torch.allclose(got[f"critic.{name}"], p.grad, atol=1e-5)
    duel.zero_grad()
    _, made = codec(x, Seeds([0, 1]))
    fooled = duel.critic(made)[0][0].flatten(1).mean(1)
    (MultiSTFT((128,))(made, x) - fooled).sum().backward()
    for name, p in codec.named_parameters():
        assert p.grad is not None
        assert torch.allclose(got[f"codec.{name}"], p.grad, atol=1e-4)


# ------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("level", [0.0, 0.5, 0.99])
def test_mp3_has_no_delay_and_keeps_the_length(level: float, gen: torch.Generator) -> None:
    pytest.importorskip("soundfile", reason="extra: music")
    x = tone(1.5, 440.0, 880.0)[0]
    x = x * (torch.arange(x.shape[-1]) > 9000)  # an onset, so that a delay shows
    back = lossy(x, RATE, level)
    assert back.shape == x.shape
    score = torch.fft.irfft(torch.fft.rfft(back[0], 2**16).conj() * torch.fft.rfft(x[0], 2**16))
    assert int(score.argmax()) == 0
    assert float((back - x).square().mean() / x.square().mean()) < 0.05


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="level"):
        lossy(torch.zeros(1, 10), RATE, 1.0)


def test_crops_come_from_their_groups_and_clean_ones_are_heard_as_they_are() -> None:
    groups = {"a": [torch.full((1, 5000), 8192, dtype=torch.int16)], "b": [-torch.ones(1, 5000)]}
    crops = Crops(groups, {"a": 1.0, "b": 3.0}, 1024, RATE, gain_db=(-6.0, 0.0), lossy=0.0)
    rows = [crops(torch.Generator().manual_seed(i)) for i in range(400)]
    share = sum(float(row.x0[0, 0]) > 0 for row in rows) / 400
    assert share == pytest.approx(0.25, abs=0.09)  # standard error 0.022
    assert all(torch.equal(row.x0, row.cond) for row in rows)
    b = torch.tensor([float(row.x0[0, 0]) for row in rows if float(row.x0[0, 0]) < 0])
    assert bool((b >= -1).all())
    assert float(b.max()) <= -(10 ** (-6 / 20)) + 1e-6
    with pytest.raises(DataError, match="shorter than a crop"):
        Crops({"a": [torch.zeros(1, 100)]}, {"a": 1.0}, 1024, RATE)


RECIPE = CodecRecipe(steps=8, batch=2, warmup=1, seconds=0.2, lossy=0.0, lr=3e-3, every=4, components=200)


def song(seed: int = 0) -> list[Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return [tone(2.0, 330.0, 660.0)[0] + 0.01 * torch.randn(1, 44032, generator=gen)]


def test_a_run_that_was_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(stage: str, done: int, total: int | None, metric: str | None = None) -> None:
        if done == 6:
            raise Cut

    whole = train({"mix": song()}, RECIPE, config=TINY)
    with pytest.raises(Cut):
        train({"mix": song()}, RECIPE, config=TINY, folder=tmp_path, progress=cut)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000000004.safetensors"]
    again = train({"mix": song()}, RECIPE, config=TINY, folder=tmp_path, resume=True)
    assert all(torch.equal(whole.weights[name], again.weights[name]) for name in whole.weights)


def test_a_frozen_encoder_keeps_its_weights_and_the_decoder_learns() -> None:
    first = codec_of(train({"mix": song()}, RECIPE, config=TINY))
    before = {name: value.clone() for name, value in first.state_dict().items()}
    first.requires_grad_(True)
    after = train({"mix": song()}, RECIPE, start=first, frozen=True, seed=1).weights
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("decoder.") for name in moved)


@pytest.mark.slow
def test_training_lowers_the_loss_below_that_of_the_mean_spectrum() -> None:
    recipe = CodecRecipe(
        steps=150, batch=4, warmup=10, seconds=0.3, lossy=0.0, lr=5e-3, ema=0.9, components=500
    )
    codec = codec_of(train({"mix": song()}, recipe, config=TINY))
    x = song(7)[0][None, :, : 20 * HOP]
    level = levels(frames(x))
    with torch.no_grad():
        made = codec.parts(codec.outline(codec.encode(x).mean)).level
    flat = (level.mean(2, keepdim=True) - level).abs().mean()
    assert float((made - level).abs().mean()) < float(flat)


def test_standardised_latents_have_mean_zero_and_deviation_one(gen: torch.Generator) -> None:
    codec = stirred(SpecVAE(TINY))
    pieces = [0.1 * torch.randn(1, 1, 40 * HOP, generator=gen) for _ in range(3)]
    standardised(codec, pieces)
    laws = [codec.encode(piece) for piece in pieces]  # type: ignore[operator]
    mean = torch.cat([law.mean[0] for law in laws], 1)
    second = torch.cat([(law.mean**2 + law.std**2)[0] for law in laws], 1).mean(1)
    assert mean.mean(1).abs().max() < 1e-4
    assert (second - 1).abs().max() < 1e-3
    # Decoding takes the same units.
    z = laws[0].mean
    raw = z * codec.spread + codec.shift  # type: ignore[operator]
    assert torch.allclose(codec.outline(z), codec.decoder(raw.mT).mT, atol=1e-5)  # type: ignore[operator]


def test_training_begins_with_principal_components(gen: torch.Generator) -> None:
    rows = torch.randn(600, 6, generator=gen) @ torch.randn(6, 4 * BINS, generator=gen) - 5
    codec = SpecVAE(TINY)
    with torch.no_grad():
        codec.fit_straight(rows.reshape(1, 1, 2400, BINS))
        z = codec.encoder.straight((rows + 5) / 3)
        back = codec.decoder.straight(z) * 3 - 5
    # Six components out of eight hold everything.
    assert torch.allclose(back, rows, atol=1e-3)
    assert torch.allclose(z[:, :6].T @ z[:, :6] / 600, torch.eye(6), atol=1e-3)


def test_a_law_is_drawn_from_by_mean_and_deviation() -> None:
    law = Law(torch.full((4000, 1, 1), 2.0), torch.full((4000, 1, 1), 0.5))
    z = drawn(law, torch.Generator().manual_seed(0))
    assert float(z.mean()) == pytest.approx(2, abs=0.03)  # standard error 0.008
    assert float(z.std()) == pytest.approx(0.5, abs=0.02)
    assert drawn(law, None) is law.mean


def test_the_wave_loss_trains_a_wave_codec() -> None:
    recipe = CodecRecipe(
        steps=3, batch=2, warmup=0, seconds=0.1, lossy=0.0, wave_loss=WaveLoss(MultiSTFT((256, 64)))
    )
    codec = Oobleck(MONO, rate=RATE)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    found = train({"mix": song()}, recipe, start=codec)
    assert found.net["kind"] == "oobleck"
    assert not torch.equal(found.weights["decoder.0.bias"], before["decoder.0.bias"])


def test_an_adversarial_stage_goes_through_the_same_loop() -> None:
    recipe = CodecRecipe(steps=2, batch=2, warmup=0, seconds=0.1, lossy=0.0)
    duel = Duel(Oobleck(MONO, rate=RATE), Critic(width=2, windows=(128,)))
    found = train({"mix": song()}, recipe, start=duel, objective=Adversarial(MultiSTFT((128,))))
    back = Oobleck(MONO, rate=RATE)
    back.load_state_dict(codec_weights(found.weights))


# ------------------------------------------------------------------------------------------------ files


def test_a_stored_codec_comes_back_in_half_precision_with_exact_statistics(tmp_path: Path) -> None:
    found = train({"mix": song()}, RECIPE, config=TINY)
    codec = codec_of(found)
    standardised(codec, [wave[None] for wave in song()])
    save_codec(tmp_path / "codec.safetensors", codec, found)
    back = load_codec(tmp_path / "codec.safetensors", rate=RATE, channels=TINY.channels)
    assert torch.equal(back.shift, codec.shift)
    assert torch.equal(back.spread, codec.spread)
    x = song()[0][None]
    assert torch.allclose(back.encode(x).mean, codec.encode(x).mean, atol=0.05)
    assert encoder_digest(back) == encoder_digest(codec)
    with pytest.raises(ModelMismatch, match="rate is 22050, expected 44100; channels is 8, expected 32"):
        load_codec(tmp_path / "codec.safetensors", rate=44100, channels=32)


def test_a_file_without_a_codec_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_codec(tmp_path / "none.safetensors")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    soundfile = pytest.importorskip("soundfile", reason="extra: music")
    for i in range(2):
        folder = tmp_path / "corpus" / f"song-{i}"
        folder.mkdir(parents=True)
        for name in ("voice", "backing", "mix"):
            soundfile.write(folder / f"{name}.flac", song(i)[0].T.numpy(), RATE)
        (folder / "song.json").write_text(json.dumps({"split": "train"}), "utf-8")
    return tmp_path / "corpus"


def test_a_corpus_is_encoded_once_and_again_for_another_encoder(corpus: Path, tmp_path: Path) -> None:
    codec, out = stirred(SpecVAE(TINY)), tmp_path / "latents"
    assert encode_corpus(codec, corpus, out) == ["song-0", "song-1"]
    path = out / "song-0.safetensors"
    found, digest = read_latents(path), encoder_digest(codec)
    assert set(found) == {"voice", "backing", "mix", "voice.std", "backing.std", "mix.std"}
    assert found["mix"].shape == (TINY.channels, 43)
    assert json.loads((out / INDEX).read_text("utf-8"))["encoder"] == digest
    stamp = path.stat().st_mtime_ns
    encode_corpus(codec, corpus, out)
    assert path.stat().st_mtime_ns == stamp
    other = stirred(SpecVAE(TINY), seed=1)
    with pytest.raises(CheckpointError, match="made by encoder"):
        read_latents(path, digest=encoder_digest(other))
    path.write_bytes(path.read_bytes()[:100])  # cut short
    encode_corpus(codec, corpus, out)
    assert torch.equal(read_latents(path, digest=digest)["mix"], found["mix"])


def test_another_decoder_leaves_the_latents_valid() -> None:
    codec = stirred(SpecVAE(TINY))
    before = encoder_digest(codec)
    with torch.no_grad():
        codec.decoder.last.weight += 1  # type: ignore[union-attr,operator]
    assert encoder_digest(codec) == before
    with torch.no_grad():
        codec.spread += 1  # type: ignore[operator]
    assert encoder_digest(codec) != before


def test_a_phase_is_wrapped_into_one_turn() -> None:
    angle = torch.linspace(-20, 20, 101)
    assert torch.allclose(torch.cos(wrapped(angle)), torch.cos(angle), atol=1e-5)
    assert wrapped(angle).abs().max() <= math.pi + 1e-6
