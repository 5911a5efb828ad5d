"""Decoupled weight decay (Loshchilov & Hutter, 2019, arXiv:1711.05101), and what is left out of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor


class Decay:
    """Which parameters decay: all but those listed, and those whose own name one of the patterns is found in."""

    def __init__(self, excluded: Iterable[Tensor] = (), patterns: Sequence[str] = ()) -> None:
        self.excluded = set(excluded)
        self.pattern = re.compile("|".join(patterns)) if patterns else None

    def require_names(self, who: str, parameters: Sequence[Any]) -> None:
        """Raise ValueError if there are patterns, and parameters that are not pairs of a name and a parameter."""
        if self.pattern is not None and not all(isinstance(each, tuple) for each in parameters):
            raise ValueError(
                f"{who}: parameters are excluded from weight decay by name, and these have none. Call "
                f"build(model.named_parameters()), or exclude them with var_list."
            )

    def enter(self, names: Sequence[str], parameters: Sequence[Tensor]) -> None:
        """Exclude those parameters in whose name, the last part of it, the pattern is found."""
        if self.pattern is not None:
            own = (re.split(r"[./]", name)[-1] for name in names)
            self.excluded.update(each for name, each in zip(own, parameters, strict=True) if self.pattern.search(name))

    def apply(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """`w' = w - lr weight_decay w`, in place."""
        excluded = self.excluded
        decaying = [each for each in parameters if each not in excluded] if excluded else parameters
        if decaying:
            torch._foreach_mul_(decaying, 1 - float(group["weight_decay"]) * float(group["lr"]))
