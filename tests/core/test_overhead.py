"""What a step costs beyond the network, counted instead of timed (C29).

A dispatch counter sees every tensor operation of a run whose denoiser does none. Operations whose result is
as large as the state are full; smaller results are bookkeeping, of which a table of Python numbers needs
none. The measured times are in tests/benchmarks/overhead.py.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import core.run
from core.denoise import Posterior
from core.plan import (
    Plan,
    adams,
    ancestral,
    ddim,
    dpmpp,
    euler,
    euler_maruyama,
    heun,
    karras,
    reverse_diffusion,
    rk4,
)
from core.process import Karras, Product
from core.run import sample

EDM = Karras()
STEPS = 20
STATE = torch.zeros(1, 64)


class Counter(TorchDispatchMode):
    """Counts operations by the size of what they return."""

    def __init__(self) -> None:
        super().__init__()
        self.full: list[str] = []
        self.small: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        size = out.numel() if isinstance(out, Tensor) else 0
        (self.full if size >= STATE.numel() else self.small).append(str(func))
        return out


class Silent:
    """A denoiser without a single operation: it returns what it holds."""

    def __init__(self, mean: Any, process: Any = EDM) -> None:
        self.process = process
        self.answer = Posterior(mean=mean)

    def __call__(self, x: Any, t: Any, cond: Any = None) -> Posterior:
        return self.answer


def counted(plan: Plan, denoiser: Any = None, x: Any = STATE) -> tuple[float, int]:
    """Full-state operations per row, and small-tensor operations in all."""
    gen = torch.Generator().manual_seed(0)
    model = denoiser or Silent(torch.zeros_like(STATE))
    with Counter() as counter:
        sample(plan, model, x, gen)
    return len(counter.full) / plan.evaluations, len(counter.small)


GRID = karras(EDM, STEPS)
DATA: dict[str, Callable[[], Plan]] = {
    "ddim": lambda: ddim(EDM, GRID),
    "dpmpp, order 1": lambda: dpmpp(EDM, GRID, order=1),
    "dpmpp, order 2": lambda: dpmpp(EDM, GRID),
}
FRAME: dict[str, Callable[[], Plan]] = {
    "adams, order 1": lambda: adams(EDM, GRID, data_std=1.0, order=1),
    "adams, order 2": lambda: adams(EDM, GRID, data_std=1.0, order=2),
    "adams, order 3": lambda: adams(EDM, GRID, data_std=1.0),
    "adams, order 4": lambda: adams(EDM, GRID, data_std=1.0, order=4),
    "euler": lambda: euler(EDM, GRID),
    "heun": lambda: heun(EDM, GRID),
    "rk4": lambda: rk4(EDM, GRID),
}
NOISY: dict[str, Callable[[], Plan]] = {
    "ancestral": lambda: ancestral(EDM, GRID),
    "ddim, eta 0.5": lambda: ddim(EDM, GRID, eta=0.5),
    "euler_maruyama": lambda: euler_maruyama(EDM, GRID),
    "reverse_diffusion": lambda: reverse_diffusion(EDM, GRID),
    "dpmpp, eta 1": lambda: dpmpp(EDM, GRID, eta=1.0),
}


@pytest.mark.parametrize("name", DATA)
def test_a_step_on_denoiser_outputs_costs_one_operation_and_one_per_order(name: str) -> None:
    plan = DATA[name]()
    full, small = counted(plan)
    assert full <= 1 + plan.order
    assert small == 0


@pytest.mark.parametrize("name", FRAME)
def test_a_step_on_frame_derivatives_costs_two_more(name: str) -> None:
    plan = FRAME[name]()
    full, small = counted(plan)
    assert full <= 3 + plan.order
    assert small == 0


@pytest.mark.parametrize("name", NOISY)
def test_noise_costs_at_most_three_more(name: str) -> None:
    plan = NOISY[name]()
    full, small = counted(plan)
    assert full <= 1 + plan.order + 3
    assert small == 0


def test_a_product_pays_for_each_part_and_nothing_else() -> None:
    process = Product({"a": EDM, "b": EDM})
    state = {"a": STATE, "b": STATE}
    full, small = counted(ddim(process, GRID), Silent(state, process), state)
    assert full <= 2 * (1 + 1)
    assert small == 0


def test_the_counter_sees_one_operation_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = core.run._advance
    monkeypatch.setattr(core.run, "_advance", lambda row, x, past, noise: advance(row, x * 1, past, noise))
    assert counted(DATA["ddim"]())[0] > 2


def test_the_counter_sees_a_coefficient_that_is_a_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = core.run._advance

    def wasteful(row: Any, x: Any, past: Any, noise: Any) -> Any:
        return advance(row._replace(keep=float(torch.tensor(row.keep))), x, past, noise)

    monkeypatch.setattr(core.run, "_advance", wasteful)
    assert counted(DATA["ddim"]())[1] >= STEPS


def test_the_counter_sees_noise_that_is_drawn_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.run, "_fresh", lambda row: True)
    assert counted(DATA["ddim"]())[0] > 1 + 1
