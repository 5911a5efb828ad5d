"""What two sets of results of a case do not agree in."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.layers_of import Result

DOUBLE, SINGLE = (1e-10, 1e-10), (1e-4, 1e-3)
"""Relative errors of values and of gradients; a tenth of it, of a tensor's largest number or of 1, absolutely."""


def differences(
    found: list[Result], expected: list[Result], tolerance: tuple[float, float], recorded: bool = False
) -> list[str]:
    """In words; an empty list where all agree. recorded: compare what states are recorded, too."""
    told: list[str] = []
    for number, (mine, right) in enumerate(zip(found, expected, strict=True)):
        pairs = {f"output {i}": pair for i, pair in enumerate(zip(mine.outputs, right.outputs, strict=False))}
        if len(mine.outputs) != len(right.outputs):
            told.append(f"call {number}: {len(mine.outputs)} outputs, not {len(right.outputs)}")
        if recorded and right.recorded is not None:
            states = mine.recorded or []
            pairs |= {f"recorded {i}": pair for i, pair in enumerate(zip(states, right.recorded, strict=True))}
        if mine.gradients and right.gradients:
            assert mine.gradients.keys() == right.gradients.keys()
            pairs |= {f"gradient of {name}": (grad, right.gradients[name]) for name, grad in mine.gradients.items()}
        for name, (one, other) in pairs.items():
            told += [f"call {number}, {name}: {each}" for each in _apart(one, other, tolerance["grad" in name])]
    return told


def _apart(one: Any, other: Any, tolerance: float) -> list[str]:
    if one.shape != other.shape:
        return [f"shape {one.shape}, not {other.shape}"]
    scale = max(1.0, abs(other).max(initial=0))
    if np.allclose(one, other, rtol=tolerance, atol=tolerance / 10 * scale):  # NaN is near nothing
        return []
    return [f"off by {abs(one - other).max()}, where the largest is {abs(other).max()}"]
