"""What recurrent layers answer for the cell inside them."""

from __future__ import annotations

from typing import Any


def of_cell(name: str) -> Any:
    """A read-only property: the attribute of the same name of the layer's cell."""

    def get(self: Any) -> Any:
        return getattr(self.cell, name)

    return property(get, doc=f"The cell's {name}.")


def cudnn_of(who: str, use_cudnn: bool | str) -> bool | None:
    """Keras's `use_cudnn` as engines are asked: True: cuDNN and nothing else; False: not cuDNN; None for "auto"."""
    if use_cudnn not in (True, False, "auto"):
        raise ValueError(f"{who}: use_cudnn must be True, False or 'auto', got {use_cudnn!r}.")
    return None if use_cudnn == "auto" else bool(use_cudnn)
