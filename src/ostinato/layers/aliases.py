"""What recurrent layers answer for the cell inside them."""

from __future__ import annotations

from typing import Any


def of_cell(name: str) -> Any:
    """A read-only property: the attribute of the same name of the layer's cell."""

    def get(self: Any) -> Any:
        return getattr(self.cell, name)

    return property(get, doc=f"The cell's {name}.")


def refuse_cudnn(who: str, use_cudnn: bool | str) -> None:
    """Raise for `use_cudnn=True`: no engine here drives cuDNN, and nothing is to fall back unseen."""
    if use_cudnn not in (True, False, "auto"):
        raise ValueError(f"{who}: use_cudnn must be True, False or 'auto', got {use_cudnn!r}.")
    if use_cudnn is True:
        raise ValueError(
            f"{who}: use_cudnn=True, but this version has no engine that drives cuDNN; the engines are listed in "
            f"ostinato.engines. Pass use_cudnn='auto' to run the fastest one that is there."
        )
