"""One run on several processes: who takes which samples, and how weights are spread and gathered.

Start with `torchrun --nproc-per-node W`, and wrap the program's work in `with group():`. W processes with
batch B / W each then compute what one process computes with batch B: sample numbers, times and noise belong
to the sample, gradients are averaged.

    "ddp"    every process holds all weights; gradients are averaged
    "fsdp"   weights, gradients, averages and moments are cut over the processes (`fully_shard`)

Snapshots and checkpoints always hold whole tensors, so that a run can be resumed on another number of
processes.
"""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

from core.errors import ConfigError, unknown

__all__ = ["Parallel", "Place", "group", "like", "mean", "own_part", "place", "spread", "whole"]

Parallel: TypeAlias = Literal["ddp", "fsdp"]


class Place(NamedTuple):
    """Which process this is, of how many."""

    rank: int
    world: int


def place() -> Place:
    """This process's place; (0, 1) outside of a group."""
    if dist.is_available() and dist.is_initialized():
        return Place(dist.get_rank(), dist.get_world_size())
    return Place(0, 1)


@contextmanager
def group(backend: str | None = None) -> Iterator[Place]:
    """Join the processes that torchrun started; alone, do nothing.

    Args:
        backend: "gloo" or "nccl"; by default nccl where there is a GPU.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Place(0, 1)
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend or ("nccl" if gpu else "gloo"))
    try:
        yield place()
    finally:
        dist.destroy_process_group()


def own_part(numbers: range) -> range:
    """The part of a batch's sample numbers that this process takes.

    Raises:
        ConfigError: the batch does not divide evenly, and the mean of means would not be the mean.
    """
    rank, world = place()
    if len(numbers) % world:
        raise ConfigError(f"a batch of {len(numbers)} does not divide over {world} processes.")
    share = len(numbers) // world
    return numbers[rank * share : (rank + 1) * share]


def spread(denoiser: nn.Module, parallel: Parallel) -> nn.Module:
    """The denoiser with its network spread over the group; outside of a group, unchanged.

    With "ddp" the network is wrapped, in a shallow copy of the denoiser; with "fsdp" it is cut in place,
    every element of a module list as a unit of its own. All processes start from the weights of the first.

    Raises:
        ConfigError: unknown mode, or a denoiser that does not keep its network in `net`.
    """
    if parallel not in get_args(Parallel):
        raise unknown("parallel mode", parallel, get_args(Parallel))
    if place().world == 1:
        return denoiser
    net = getattr(denoiser, "net", None)
    if not isinstance(net, nn.Module):
        raise ConfigError(f"{type(denoiser).__name__} has no network named 'net' to spread over processes.")
    if parallel == "ddp":
        net = nn.parallel.DistributedDataParallel(net)
    else:
        _cut(net)
    out = copy.copy(denoiser)
    out._modules = {**denoiser._modules, "net": net}
    return out


def _cut(net: nn.Module) -> None:
    # Importing these takes 3 s of processor time, so they are imported only where they are used.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for value in net.state_dict().values():
        dist.broadcast(value, src=0)
    mesh = init_device_mesh(next(net.parameters()).device.type, (place().world,))
    for module in reversed(list(net.modules())):  # inner units first
        if isinstance(module, nn.ModuleList):
            for unit in module:
                fully_shard(unit, mesh=mesh)
    fully_shard(net, mesh=mesh)


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors gathered from all processes, on the CPU. Every process must call this."""
    return {
        name: (value.full_tensor() if _is_cut(value) else value).detach().cpu()
        for name, value in tensors.items()
    }


def like(value: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor with the type, device, layout and cut of `pattern`."""
    value = value.to(pattern.device, pattern.dtype)
    if _is_cut(pattern):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value, pattern.device_mesh, pattern.placements)
    return torch.empty_like(pattern).copy_(value)


def _is_cut(value: Any) -> TypeGuard[Any]:
    return hasattr(value, "full_tensor")


def mean(values: Tensor) -> Tensor:
    """Mean over the processes, entry by entry; all of them get the same bits."""
    world = place().world
    if world == 1:
        return values
    out = values.detach().clone()
    dist.all_reduce(out)
    return out / world
