"""Where networks run: the device by name, bf16 around the network alone, and compilation.

Schedules, states and losses stay in the state's own type; only what happens inside the network is lowered to
bf16:

    net = compiled(Autocast(UNet(2, 2)))      # what wrap() takes
    bare(net)                                 # the UNet again: its weights are saved under their own names
"""

import shutil
import warnings
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from core.errors import ConfigError

__all__ = ["Autocast", "Choice", "bare", "choose_device", "compiled"]


class Choice(NamedTuple):
    """A device, and a line to show where the choice was not the user's own; None where it was."""

    device: torch.device
    note: str | None


def choose_device(name: str = "auto") -> Choice:
    """Find the device that a user named.

    Args:
        name: "auto" (a GPU where there is one, else the CPU), "cpu", "cuda", "cuda:1", "mps" ...

    Raises:
        ConfigError: the name is no device, or the device is not there. Only "auto" falls back.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return Choice(torch.device("cuda"), f"device: {torch.cuda.get_device_name()}")
        return Choice(torch.device("cpu"), "device: CPU (no GPU found)")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise ConfigError(f"unknown device '{name}'.", hint="Use auto, cpu, cuda or cuda:<number>.") from err
    count = _count(device.type)
    if (device.index or 0) >= count:
        there = "none is there" if count == 0 else f"{count} are there, counted from 0"
        raise ConfigError(
            f"device '{name}' was asked for, but {there}.", hint="Use --device auto or --device cpu."
        )
    return Choice(device, None)


def _count(kind: str) -> int:
    match kind:
        case "cpu":
            return 1
        case "cuda":
            return torch.cuda.device_count() if torch.cuda.is_available() else 0
        case "mps":
            return int(torch.backends.mps.is_available())
        case _:
            return 0


class Autocast(nn.Module):
    """A network whose insides run in a lower type; its answer comes back in the type of its input.

    Args:
        net: called as net(x, c_noise, cond).
        dtype: bfloat16 needs no loss scaling; float16 would, and is refused.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        if dtype != torch.bfloat16:
            raise ConfigError(f"autocast supports torch.bfloat16, got {dtype}.")
        self.net = net
        self.dtype = dtype

    def forward(self, x: Any, c_noise: Any, cond: Any = None) -> Any:
        with torch.autocast(x.device.type, dtype=self.dtype):
            out = self.net(x, c_noise, cond)
        return out.to(x.dtype)


def compiled(net: nn.Module) -> nn.Module:
    """The same network through torch.compile; it compiles at its first call, once per input shape.

    Raises:
        ConfigError: no C++ compiler is there for a network on the CPU.
    """
    where = next((p.device.type for p in net.parameters()), "cpu")
    if where == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise ConfigError(
            "torch.compile needs a C++ compiler.", hint="Install g++, or run without compilation."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.compile(net)  # type: ignore[return-value]


def bare(net: nn.Module) -> nn.Module:
    """The network inside Autocast, torch.compile and DistributedDataParallel."""
    while True:
        if isinstance(net, Autocast):
            net = net.net
        elif hasattr(net, "_orig_mod"):
            net = cast(nn.Module, net._orig_mod)
        elif isinstance(net, nn.parallel.DistributedDataParallel):
            net = net.module
        else:
            return net
