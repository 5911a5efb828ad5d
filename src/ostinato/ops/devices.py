"""Where tensors go that are made from no other tensor."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext


class _Creation(threading.local):
    def __init__(self) -> None:  # for each thread; where class attributes stand in, torch.compile loses its way
        self.device: torch.device | None = None


_CREATION = _Creation()


@contextlib.contextmanager
def creating_on(device: str) -> Iterator[None]:
    """While the block runs, the operations of this room make new tensors on `device`, and weights go where they would.

    Shapes are found so, on the meta device: what `ops.zeros` makes inside a call must meet tensors that are there too.

    >>> with creating_on("meta"):
    ...     creation_device()
    device(type='meta')
    """
    before = _CREATION.device
    _CREATION.device = torch.device(device)
    try:
        yield
    finally:
        _CREATION.device = before


def creation_device() -> torch.device:
    """The device of a tensor that an operation makes from no other tensor."""
    if torch.compiler.is_compiling():  # a compiler sees `with torch.device(...)` only in what it does to a tensor
        return _usual(torch.empty(0).device)
    return _CREATION.device or default_device()


def default_device() -> torch.device:
    """Where new weights and NumPy inputs go: an explicit `with torch.device(...)`, else CUDA, else the CPU.

    >>> with torch.device("meta"):
    ...     default_device()
    device(type='meta')
    """
    for mode in reversed(_get_current_function_mode_stack()):
        if isinstance(mode, DeviceContext):
            chosen = torch.device(mode.device)
            return torch.device("cpu") if chosen.type == "cpu" else chosen  # "cpu:0" is the same, and compares unequal
    return _usual(torch.get_default_device())


def _usual(chosen: torch.device) -> torch.device:
    """The chosen device, or CUDA where there is one and nothing but the CPU was chosen."""
    if chosen.type != "cpu" or not torch.cuda.is_available():
        return chosen
    return torch.device("cuda", torch.cuda.current_device())
