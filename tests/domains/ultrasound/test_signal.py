"""The signal chain against closed forms, and the order of its steps on a real undersampled recording."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import hilbert
from torch import Tensor

from core.errors import ConfigError, DataError, GeometryError
from domains.ultrasound.beamform import delay_and_sum, grid_points, plane_arrival
from domains.ultrasound.data import Geometry, Record
from domains.ultrasound.signal import (
    analytic,
    demodulate,
    envelope,
    gaussian_pulse,
    log_compress,
    lowpass,
    remodulate,
    sampling_note,
    to_iq,
    to_rf,
    upsample,
)
from tests.domains.ultrasound.real_files import Channels, correlation, read_disk, read_disk_reference

F0 = 5e6
DISK_FS = 20e6 / 3


def times(fs_hz: float, n: int, t0_s: float = 0.0) -> Tensor:
    return t0_s + torch.arange(n, dtype=torch.float64) / fs_hz


def burst(t: Tensor, *, centre_s: float, width_s: float = 2e-6, f0_hz: float = F0) -> Tensor:
    """A carrier at f0 under a Gaussian of standard deviation `width_s` (80 kHz in frequency), as one line."""
    envelope = torch.exp(-0.5 * ((t - centre_s) / width_s) ** 2)
    return (envelope * torch.cos(2 * math.pi * f0_hz * t + 0.7))[:, None]


@pytest.mark.parametrize("fs_hz", [40e6, DISK_FS])
def test_a_tone_becomes_its_complex_amplitude(fs_hz: float) -> None:
    t = times(fs_hz, int(300e-6 * fs_hz), 3.3e-6)
    rf = 3 * torch.cos(2 * math.pi * F0 * t + 0.7)[:, None]
    iq = demodulate(rf, fs_hz=fs_hz, f0_hz=F0, bandwidth=0.15, t0_s=3.3e-6).iq
    inner = iq[iq.shape[0] // 4 : -iq.shape[0] // 4]
    # 75 us from the ends their ringing has died; the image of the carrier, >= 3.3 MHz from 0, is 190 dB down.
    assert torch.allclose(inner, torch.full_like(inner, 3 * np.exp(0.7j)), atol=1e-4)


def test_a_tone_off_the_carrier_turns_at_the_difference_frequency() -> None:
    t = times(40e6, 4000)
    rf = torch.cos(2 * math.pi * (F0 + 100e3) * t)[:, None]
    out = demodulate(rf, fs_hz=40e6, f0_hz=F0, bandwidth=0.15)
    steps = (out.iq[1:] * out.iq[:-1].conj()).angle() * out.fs_hz / (2 * math.pi)
    # A conjugated carrier would give -100 kHz.
    assert torch.allclose(steps[20:-20], torch.tensor(100e3, dtype=torch.float64), rtol=1e-3)


def test_undersampled_rf_gives_the_iq_of_rf_sampled_at_six_times_the_rate() -> None:
    fine = demodulate(
        burst(times(6 * DISK_FS, 2400), centre_s=30e-6), fs_hz=6 * DISK_FS, f0_hz=F0, bandwidth=0.15, factor=6
    )
    coarse = demodulate(
        burst(times(DISK_FS, 400), centre_s=30e-6), fs_hz=DISK_FS, f0_hz=F0, bandwidth=0.15, factor=1
    )
    assert fine.note is None
    assert coarse.note is not None
    assert "undersampled" in coarse.note
    # The bilinear transform warps the two Butterworth filters differently: below .3 % of the peak here.
    assert (fine.iq - coarse.iq).abs().max() <= 3e-3 * fine.iq.abs().max()


def test_a_band_that_straddles_a_multiple_of_half_the_rate_is_refused() -> None:
    with pytest.raises(DataError, match=r"straddles 3\.333 MHz"):
        demodulate(torch.zeros(400, 1), fs_hz=DISK_FS, f0_hz=3.2e6, bandwidth=0.15)


@pytest.mark.parametrize(
    ("f0_hz", "bandwidth", "legal"),
    [
        (5e6, 0.15, True),
        (5e6, 0.66, True),  # 3.35-6.65 MHz just fits between 3.333 and 6.667
        (5e6, 0.68, False),
        (6.6e6, 0.15, False),
        (1.6e6, 0.5, True),
    ],
)
def test_the_band_must_fit_between_two_multiples_of_half_the_rate(
    f0_hz: float, bandwidth: float, legal: bool
) -> None:
    if legal:
        note = sampling_note(fs_hz=DISK_FS, f0_hz=f0_hz, bandwidth=bandwidth)
        assert (note is not None) == (f0_hz > DISK_FS / 2)
    else:
        with pytest.raises(DataError, match="straddles"):
            sampling_note(fs_hz=DISK_FS, f0_hz=f0_hz, bandwidth=bandwidth)


def test_decimation_keeps_at_least_1_2_bandwidths() -> None:
    out = demodulate(torch.zeros(960, 2), fs_hz=40e6, f0_hz=F0, bandwidth=0.6)
    # 40 / (1.2 x 3) = 11.1
    assert out.factor == 11
    assert out.fs_hz == pytest.approx(40e6 / 11)
    assert out.iq.shape == (math.ceil(960 / 11), 2)
    assert out.iq.dtype == torch.complex64


@pytest.mark.parametrize("factor", [1, 4])
def test_remodulation_undoes_demodulation_inside_the_band(factor: int) -> None:
    t = times(20e6, 1200, 2e-6)
    rf = burst(t, centre_s=30e-6)
    out = demodulate(rf, fs_hz=20e6, f0_hz=F0, bandwidth=0.5, t0_s=2e-6, factor=factor)
    back = remodulate(out.iq, fs_hz=out.fs_hz, fd_hz=F0, factor=factor, t0_s=2e-6)
    # The low-pass is flat to 1e-5 over the +-300 kHz of the burst; its cut-off is 1.25 MHz.
    assert back.shape == rf.shape
    assert (back - rf).abs().max() <= 1e-4


@pytest.mark.parametrize("n", [16, 17])
def test_upsampling_is_exact_for_cosines_that_fit_the_mirrored_line(n: int) -> None:
    """cos(pi (k + 1/2) m / n), m < n, is one line in the spectrum of the line and its mirror image."""
    fine = torch.arange(3 * n, dtype=torch.float64)[:, None] / 3
    for m in (0, 1, 5, n - 1):
        exact = torch.cos(math.pi * (fine + 0.5) * m / n)
        assert torch.allclose(upsample(exact[::3], 3), exact, atol=1e-12)
        assert torch.allclose(upsample(1j * exact[::3], 3), 1j * exact, atol=1e-12)


def test_gradients_pass_remodulation() -> None:
    iq = torch.zeros(2, 32, 3, dtype=torch.complex64, requires_grad=True)
    remodulate(iq, fs_hz=5e6, fd_hz=F0, factor=4)[0, 7, 1].backward()
    assert iq.grad is not None
    assert iq.grad[0, :, 1].abs().max() > 0
    assert iq.grad[1].abs().max() == 0


def test_the_low_pass_has_no_delay(gen: torch.Generator) -> None:
    x = torch.randn(300, 2, generator=gen, dtype=torch.float64)
    x[:60], x[-60:] = 0, 0
    forward = lowpass(x, fs_hz=20e6, cutoff_hz=2e6)
    # A zero-phase filter commutes with time reversal, up to the decay of its own start-up.
    assert torch.allclose(lowpass(x.flip(0), fs_hz=20e6, cutoff_hz=2e6).flip(0), forward, atol=1e-6)


def test_the_envelope_of_a_burst_is_its_gaussian() -> None:
    t = times(40e6, 2400)
    exact = torch.exp(-0.5 * ((t - 30e-6) / 2e-6) ** 2)[:, None]
    rf = burst(t, centre_s=30e-6)
    settings = {"fs_hz": 40e6, "f0_hz": F0, "bandwidth": 0.3}
    # The low-pass is flat to 1e-3 over the band of the burst.
    assert torch.allclose(envelope(rf, **settings), exact, atol=1e-3)
    assert torch.allclose(analytic(rf, **settings).abs(), exact, atol=1e-6)
    assert torch.allclose(analytic(rf, **settings), torch.from_numpy(hilbert(rf.numpy(), axis=0)), atol=1e-12)
    assert torch.equal(envelope(rf + 0j), rf.abs())


def test_the_hilbert_transform_of_undersampled_rf_is_refused() -> None:
    with pytest.raises(DataError, match="Hilbert"):
        analytic(torch.zeros(400, 1), fs_hz=DISK_FS, f0_hz=F0, bandwidth=0.15)


def disk_picture(channels: Channels, iq: Tensor) -> Tensor:
    """Grey levels of frame 0 on every third pixel of the reference grid, 30 dB."""
    x, z = grid_points(
        torch.linspace(-12.5e-3, 12.5e-3, 251, dtype=torch.float64)[::3],
        torch.linspace(10e-3, 35e-3, 251, dtype=torch.float64)[::3],
    )
    c = channels.sound_speed_m_s
    pixels = delay_and_sum(
        iq,
        x,
        z,
        plane_arrival(x, z, [0.0], sound_speed_m_s=c),
        elements_m=channels.elements_m,
        fs_hz=channels.fs_hz,
        sound_speed_m_s=c,
        t0_s=channels.t0_s,
        fd_hz=channels.f0_hz,
        f_number=1.0,
    )
    return 255 * (1 + log_compress(pixels[0, 0].abs(), dynamic_range_db=30.0) / 30)


def test_hilbert_first_spoils_the_real_disk_and_demodulation_does_not(real_data) -> None:
    folder = real_data("ultrasound/must_disk")
    channels = read_disk(folder)
    shown = read_disk_reference(folder)[0, ::3, ::3]
    rf = channels.rf[:1]
    right = demodulate(
        rf, fs_hz=channels.fs_hz, f0_hz=channels.f0_hz, bandwidth=0.15, t0_s=channels.t0_s, factor=1
    )
    carrier = torch.exp(-2j * math.pi * channels.f0_hz * times(channels.fs_hz, rf.shape[-2], channels.t0_s))
    turned = torch.from_numpy(hilbert(rf.numpy(), axis=-2)) * carrier[:, None]
    hilbert_first = lowpass(turned, fs_hz=channels.fs_hz, cutoff_hz=0.5e6)
    # Measured .97 against -.27: the positive half of the sampled spectrum is the negative half of the echo's.
    assert correlation(disk_picture(channels, right.iq), shown) >= 0.93
    assert correlation(disk_picture(channels, hilbert_first.to(torch.complex64)), shown) < 0.6


def test_log_compression_is_20_log10_clipped_at_the_dynamic_range() -> None:
    levels = log_compress(torch.tensor([[[2.0, 0.2, 0.02, 0.0]]]), dynamic_range_db=30.0)
    assert torch.allclose(levels, torch.tensor([[[0.0, -20.0, -30.0, -30.0]]]), atol=1e-5)


def test_log_compression_takes_each_frame_or_a_given_peak_as_0_db() -> None:
    frames = torch.ones(2, 1, 3) * torch.tensor([1.0, 10.0])[:, None, None]
    assert torch.allclose(log_compress(frames), torch.zeros(2, 1, 3))
    against = log_compress(frames, peak=10.0)
    assert torch.allclose(against, torch.tensor([-20.0, 0.0])[:, None, None].expand(2, 1, 3), atol=1e-5)


@pytest.mark.parametrize(
    "bad", [torch.tensor([[-1.0, 1.0]]), torch.tensor([[math.nan, 1.0]]), torch.zeros(2, 2)]
)
def test_log_compression_refuses_what_is_no_envelope(bad: Tensor) -> None:
    with pytest.raises(DataError):
        log_compress(bad)


def test_the_pulse_falls_by_6_db_at_the_edges_of_its_band() -> None:
    pulse = gaussian_pulse(fs_hz=100e6, f0_hz=F0, bandwidth=0.6, dtype=torch.float64)
    t = (torch.arange(len(pulse), dtype=torch.float64) - len(pulse) // 2) / 100e6

    def level_db(f_hz: float) -> float:
        return 20 * math.log10(abs((pulse * torch.exp(-2j * math.pi * f_hz * t)).sum().item()))

    assert pulse.max().item() == pulse[len(pulse) // 2].item() == 1.0
    for edge in (0.7 * F0, 1.3 * F0):
        # The pulse is cut at 1e-4 of its peak, and the negative frequencies leak in at about -70 dB.
        assert level_db(edge) - level_db(F0) == pytest.approx(-6.0, abs=0.02)


def test_a_record_is_demodulated_and_comes_back_with_its_geometry() -> None:
    t = times(20e6, 1200)
    rf = burst(t, centre_s=30e-6).float().numpy()[None].repeat(3, axis=2)
    g = Geometry(probe="phased", r0_m=0.0, r1_m=0.0462, fs_hz=20e6, f0_hz=F0, bandwidth=0.5)
    iq = to_iq(Record("beamformed_data", rf, g))
    assert iq.domain == "iq"
    assert iq.geometry.fd_hz == F0
    assert iq.geometry.fs_hz == pytest.approx(20e6 / 6)
    # 1200 samples by 6: the last kept one is number 1194 of 1199.
    assert iq.geometry.r1_m == pytest.approx(0.0462 * 1194 / 1199)
    assert to_iq(iq) is iq
    back = to_rf(iq)
    assert back.geometry.fs_hz == pytest.approx(20e6)
    assert back.geometry.r1_m == pytest.approx(0.0462)
    assert np.abs(back.values - rf).max() <= 1e-3


def test_an_undersampled_record_carries_a_note() -> None:
    g = Geometry(fs_hz=DISK_FS, f0_hz=F0, bandwidth=0.15)
    out = to_iq(Record("beamformed_data", np.ones((1, 64, 2), dtype=np.float32), g))
    assert any("undersampled" in note for note in out.meta["notes"])


def test_errors_name_what_is_missing_or_wrong() -> None:
    rf = torch.zeros(400, 1)
    with pytest.raises(ConfigError, match="f0_hz, bandwidth"):
        envelope(rf, fs_hz=40e6)
    with pytest.raises(GeometryError, match="f0_hz, bandwidth"):
        to_iq(Record("beamformed_data", np.zeros((1, 64, 2)), Geometry(fs_hz=40e6)))
    with pytest.raises(ConfigError, match="bandwidth in"):
        demodulate(rf, fs_hz=40e6, f0_hz=F0, bandwidth=60.0)
    with pytest.raises(DataError, match="complex"):
        demodulate(rf + 0j, fs_hz=40e6, f0_hz=F0, bandwidth=0.6)
    with pytest.raises(DataError, match="axis -2"):
        demodulate(rf.T, fs_hz=40e6, f0_hz=F0, bandwidth=0.6)
    with pytest.raises(DataError, match="complex IQ"):
        remodulate(rf, fs_hz=40e6, fd_hz=F0)
    with pytest.raises(DataError, match="no phase"):
        to_iq(Record("envelope_data", np.ones((1, 64, 2)), Geometry()))
