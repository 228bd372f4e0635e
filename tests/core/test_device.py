"""Devices by name, and a network that is lowered or compiled and still answers the same."""

import pytest
import torch

from core.denoise import wrap
from core.device import Autocast, bare, choose_device, compiled
from core.errors import ConfigError
from core.nets.unet import UNet
from core.process import VP


def awake() -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = UNet(2, 2, widths=(8, 8))
        torch.nn.init.normal_(net.head.weight, std=0.2)
    return net


def test_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device, note = choose_device("auto")
    assert device == torch.device("cpu")
    assert note == "device: CPU (no GPU found)"


def test_a_device_asked_for_by_name_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cpu") == (torch.device("cpu"), None)
    with pytest.raises(ConfigError, match="'cuda' was asked for, but none is there"):
        choose_device("cuda")


def test_a_device_beyond_the_last_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1").device == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="'cuda:2' was asked for, but 2 are there, counted from 0"):
        choose_device("cuda:2")


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        choose_device("gpu")


def test_autocast_lowers_the_network_and_nothing_around_it(gen: torch.Generator) -> None:
    seen = []
    net = awake()
    net.stem.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    x = torch.randn(2, 2, 8, 8, generator=gen)
    low = wrap(Autocast(net), VP(), predicts="edm")(x, 0.5).mean
    full = wrap(net, VP(), predicts="edm")(x, 0.5).mean
    assert seen == [torch.bfloat16, torch.float32]
    assert low.dtype == torch.float32
    assert not torch.equal(low, full)
    # Eight bits of mantissa, 0.4 % per operation, over about ten of them.
    assert (low - full).norm() < 0.02 * full.norm()


def test_half_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="bfloat16"):
        Autocast(awake(), torch.float16)


def test_the_network_is_found_inside_its_covers() -> None:
    net = awake()
    assert bare(Autocast(net)) is net
    assert bare(compiled(Autocast(net))) is net
    assert bare(net) is net


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own warnings, of several of its packages
def test_the_compiled_network_answers_the_same(gen: torch.Generator) -> None:
    net = awake()
    x, c = torch.randn(2, 2, 8, 8, generator=gen), torch.tensor([0.1, -0.4])
    with torch.no_grad():
        torch.testing.assert_close(compiled(net)(x, c), net(x, c), rtol=1e-4, atol=1e-5)
