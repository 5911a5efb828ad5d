"""The C interface of the native library, `native/src/abi.h`, as ctypes has it."""

from __future__ import annotations

import ctypes
from typing import Any

from torch import Tensor

ABI = 3
"""The number of the interface that this file describes."""

_NUMBER, _ADDRESS = ctypes.c_int64, ctypes.c_void_p


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class CProblem(ctypes.Structure):
    """`OstinatoProblem`: sizes and options, addresses of tensors, strides in elements; see there.

    >>> CProblem(time=3, batch=2).time
    3
    """

    _fields_ = [
        *_fields(_NUMBER, "cell activation recurrent_activation time batch features units"),
        *_fields(_NUMBER, "steps threads reverse training padded"),
        *_fields(_ADDRESS, "order lengths counts"),
        *_fields(_ADDRESS, "x"),
        *_fields(_NUMBER, "x_time x_batch x_feature"),
        *_fields(_ADDRESS, "h0 c0 kernel recurrent bias recurrent_bias x_mask h_mask"),
        *_fields(_NUMBER, "x_masks"),
        *_fields(_ADDRESS, "outputs"),
        *_fields(_NUMBER, "y_time y_batch"),
        *_fields(_ADDRESS, "last h_n c_n saved scratch d_outputs"),
        *_fields(_NUMBER, "d_time d_batch d_unit"),
        *_fields(_ADDRESS, "d_h d_c d_x"),
        *_fields(_NUMBER, "dx_time dx_batch"),
        *_fields(_ADDRESS, "d_h0 d_c0 d_kernel d_recurrent d_bias d_recurrent_bias"),
        *_fields(_NUMBER, "keep reset_before low"),
    ]

    def copy(self) -> CProblem:
        """Another one with the same fields."""
        return CProblem.from_buffer_copy(self)


class CSizes(ctypes.Structure):
    """`OstinatoSizes`: how many floats are kept for backward, and what forward and backward need for themselves."""

    _fields_ = _fields(_NUMBER, "saved forward backward")


SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ostinato_isa": (ctypes.c_char_p, ()),
    "ostinato_team": (_NUMBER, (_NUMBER,)),
    "ostinato_sizes": (None, (ctypes.POINTER(CProblem), ctypes.POINTER(CSizes))),
    "ostinato_forward": (None, (ctypes.POINTER(CProblem),)),
    "ostinato_forward_two": (None, (ctypes.POINTER(CProblem), ctypes.POINTER(CProblem))),
    "ostinato_backward": (None, (ctypes.POINTER(CProblem),)),
    "ostinato_backward_two": (None, (ctypes.POINTER(CProblem), ctypes.POINTER(CProblem))),
}
"""What the functions return and take."""


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers begin; None, which is C's null, for None.

    >>> address(None) is None
    True
    """
    return None if tensor is None else tensor.data_ptr()
