"""The state-space layer against the recurrence it stands for, the direct sum, and its own derivatives."""

import cmath
import math

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from core.nets.state_space import S4D, convolved, fast_length, kernels, normed, pointwise


def direct(layer: S4D, u: Tensor) -> Tensor:
    """The two-sided convolution as O(L^2) sums in float64, without norm."""
    u = u.double()
    length = u.shape[-1]
    sides = [side.double() for side in layer.kernel(length)]
    out = layer.D.double()[:, None] * u
    for i in range(length):
        for j in range(length):
            if j <= i:
                out[..., i] += sides[0][:, i - j] * u[..., j]
            elif len(sides) > 1:
                out[..., i] += sides[1][:, j - i - 1] * u[..., j]
    return out


def bare(layer: S4D, u: Tensor) -> Tensor:
    """The layer's convolution alone."""
    spectrum, _ = layer._computed(u.shape[-1])
    return convolved(u, spectrum, fast_length(2 * u.shape[-1] - 1))


def direct_kernel(layer: S4D, length: int) -> Tensor:
    """Kernels by the formula, term by term, in complex128."""
    dt = layer.log_dt.double().exp()[:, None]
    a = torch.complex(-layer.log_decay.double().exp(), layer.frequency.double())
    c = torch.view_as_complex(layer.C.double().contiguous())
    steps = torch.arange(length, dtype=torch.float64)
    terms = (c * torch.expm1(dt * a) / a)[..., None] * torch.exp((dt * a)[..., None] * steps)
    return 2 * terms.sum(-2).real


@pytest.mark.parametrize("length", [1, 2, 3, 17, 144, 390, 1000])
def test_the_split_kernel_is_the_sum_over_states(length: int) -> None:
    torch.manual_seed(0)
    layer = S4D(8, states=64)
    exact = direct_kernel(layer, length)
    found = layer.kernel(length)
    assert found.shape == (2, 8, length)
    assert (found - exact).abs().max() < 1e-4 * exact.abs().max()
    # In float64 the two forms are the same number.
    double = layer.double().kernel(length)
    assert torch.allclose(double, direct_kernel(layer, length), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("length", [1, 2, 5, 31, 64])
@pytest.mark.parametrize("two_sided", [True, False])
def test_the_layer_is_the_direct_two_sided_convolution(length: int, two_sided: bool) -> None:
    torch.manual_seed(1)
    layer = S4D(3, states=16, two_sided=two_sided, norm=False)
    u = torch.randn(2, 3, length)
    exact = direct(layer, u)
    assert (bare(layer, u) - exact).abs().max() < 1e-4 * exact.abs().max()


@pytest.mark.parametrize("length", [390, 1000])
def test_long_sequences_agree_with_a_matrix_of_kernels(length: int) -> None:
    torch.manual_seed(2)
    layer = S4D(2, states=64, norm=False)
    forwards, backwards = layer.kernel(length).double()
    lag = torch.arange(length)[:, None] - torch.arange(length)[None]
    matrix = torch.where(lag >= 0, forwards[:, lag.clamp_min(0)], backwards[:, (-lag - 1).clamp_min(0)])
    matrix = matrix + torch.diag_embed(layer.D.double()[:, None].expand(-1, length))
    u = torch.randn(3, 2, length)
    exact = torch.einsum("hij,bhj->bhi", matrix, u.double())
    assert (bare(layer, u) - exact).abs().max() < 1e-4 * exact.abs().max()


def test_the_causal_half_is_the_recurrence() -> None:
    torch.manual_seed(3)
    layer = S4D(4, states=8, two_sided=False, norm=False).double()
    u = torch.randn(1, 4, 50, dtype=torch.float64)
    dt = layer.log_dt.exp()[:, None]
    a = torch.complex(-layer.log_decay.exp(), layer.frequency)
    step, drive = torch.exp(dt * a), torch.expm1(dt * a) / a
    state = torch.zeros(4, 8, dtype=torch.complex128)
    c = torch.view_as_complex(layer.C.detach().contiguous())[0]
    out = []
    for at in u[0].T:
        state = step * state + drive * at[:, None]
        out.append(2 * (c * state).sum(1).real + layer.D * at)
    assert torch.allclose(bare(layer, u)[0], torch.stack(out, 1), atol=1e-10)


def test_one_state_answers_an_impulse_by_a_damped_wave() -> None:
    dt, decay, w = 0.05, 0.7, 3.0
    kernel = kernels(
        torch.tensor([math.log(dt)], dtype=torch.float64),
        torch.tensor([[math.log(decay)]], dtype=torch.float64),
        torch.tensor([[w]], dtype=torch.float64),
        torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64),
        40,
    )[0, 0]
    a = complex(-decay, w)
    first = (cmath.exp(dt * a) - 1) / a
    wave = [2 * (first * cmath.exp(dt * a * step)).real for step in range(40)]
    assert torch.allclose(kernel, torch.tensor(wave, dtype=torch.float64), atol=1e-12)


def test_a_circle_shorter_than_twice_the_length_wraps_around() -> None:
    torch.manual_seed(4)
    layer = S4D(1, states=4, norm=False, dt=(1e-3, 1e-3))
    torch.nn.init.zeros_(layer.D)
    u = torch.randn(1, 1, 40)
    forwards, backwards = layer.kernel(40)
    wrapped = torch.zeros(1, 64)
    wrapped[:, :40] += forwards
    wrapped[:, 24:] += backwards.flip(-1)
    wrong = convolved(u, torch.fft.rfft(wrapped), 64)
    exact = direct(layer, u)
    assert (wrong - exact).abs().max() > 0.1 * exact.abs().max()


def test_lengths_are_long_enough_and_factor_into_small_primes() -> None:
    for n in (1, 33, 287, 719, 779, 1999):
        found = fast_length(n)
        assert found >= n
        rest = found // 32
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1
    assert fast_length(779) == 800


def test_the_norm_is_torch_layer_norm_and_folds_into_the_kernel() -> None:
    torch.manual_seed(5)
    layer = S4D(6, states=8).double()
    torch.nn.init.normal_(layer.gain)
    torch.nn.init.normal_(layer.offset)
    x = torch.randn(2, 6, 21, dtype=torch.float64)
    norm = torch.nn.functional.layer_norm(x.mT, (6,)).mT
    assert torch.allclose(normed(x), norm, atol=1e-12)
    affine = layer.gain[:, None] * norm + layer.offset[:, None]
    y = torch.nn.functional.gelu(direct(layer, affine))
    exact = torch.nn.functional.linear(y.mT, layer.out.weight, layer.out.bias).mT
    assert torch.allclose(layer(x), exact, atol=1e-10)
    assert torch.allclose(layer(x, residual=x), exact + x, atol=1e-10)


def test_derivatives_match_finite_differences_to_second_order() -> None:
    torch.manual_seed(6)
    layer = S4D(2, states=2).double()
    torch.nn.init.normal_(layer.offset)
    x = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (x, *values), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, (x, *values))


def test_a_jacobian_vector_product_agrees_with_the_gradient() -> None:
    torch.manual_seed(7)
    layer = S4D(3, states=4).double().requires_grad_(False)
    x, v, w = (torch.randn(1, 3, 9, dtype=torch.float64) for _ in range(3))
    _, forward = torch.func.jvp(layer, (x,), (v,))
    with torch.enable_grad():
        at = x.clone().requires_grad_()
        (back,) = torch.autograd.grad(layer(at), at, w)
    assert (forward * w).sum().item() == pytest.approx((back * v).sum().item(), rel=1e-10)


def test_a_frozen_layer_holds_its_kernel_and_notices_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(8)
    layer = S4D(4, states=8).requires_grad_(False)
    x = torch.randn(2, 4, 30)
    calls = []
    inner = S4D.kernel
    monkeypatch.setattr(S4D, "kernel", lambda self, n: calls.append(n) or inner(self, n))
    first = layer(x)
    assert torch.equal(layer(x), first)
    assert calls == [30]
    layer(x[..., :20])
    assert calls == [30, 20]
    layer.C.data.mul_(2)  # behind the back of autograd's version counter
    assert not torch.allclose(layer(x), first)
    assert calls == [30, 20, 30]
    # A layer that trains computes its kernel at every call, and its gradient reaches the parameters.
    layer.requires_grad_(True)
    layer(x).sum().backward()
    assert layer.log_dt.grad is not None
    assert len(calls) == 4


def test_a_held_kernel_serves_gradients_after_inference_mode() -> None:
    torch.manual_seed(9)
    layer = S4D(4, states=8).requires_grad_(False)
    x = torch.randn(1, 4, 12)
    with torch.inference_mode():
        layer(x)
    at = x.clone().requires_grad_()
    layer(at).sum().backward()
    assert at.grad is not None


def test_autocast_leaves_the_transforms_in_float32() -> None:
    torch.manual_seed(10)
    layer = S4D(4, states=8)
    x = torch.randn(1, 4, 50)
    plain = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), plain)


def test_a_row_of_the_batch_does_not_depend_on_the_others() -> None:
    torch.manual_seed(11)
    layer = S4D(4, states=8)
    x = torch.randn(5, 4, 33)
    assert torch.allclose(layer(x)[2:3], layer(x[2:3]), atol=1e-6)


def test_pointwise_is_a_convolution_of_width_one() -> None:
    torch.manual_seed(12)
    x, weight, bias, onto = (
        torch.randn(*s, dtype=torch.float64) for s in ((2, 3, 7), (4, 3), (4,), (2, 4, 7))
    )
    exact = torch.nn.functional.conv1d(x, weight[..., None], bias)
    assert torch.allclose(pointwise(x, weight, bias), exact)
    assert torch.allclose(pointwise(x, weight, bias, onto=onto), exact + onto)
    assert torch.allclose(pointwise(x, weight), exact - bias[:, None])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="channels >= 1"):
        S4D(0)
    with pytest.raises(ConfigError, match="dt"):
        S4D(4, dt=(0.1, 0.01))
