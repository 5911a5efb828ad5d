"""Kernels of a short-time Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.signal import windows

from ostinato.core import registry
from ostinato.core.dtypes import as_dtype
from ostinato.core.initializers.base import Initializer
from ostinato.errors import nearest
from ostinato.ops.tensors import tensor


def _cosines(*amplitudes: float) -> Callable[..., Tensor]:
    return lambda length, **options: windows.general_cosine(length, a=amplitudes, **options)


# By the names of scipy.signal.windows; the amplitudes are from the papers that it cites (Harris 1978; D'Antona 2006).
_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "bartlett": windows.bartlett,
    "blackman": windows.blackman,
    "blackmanharris": _cosines(0.35875, 0.48829, 0.14128, 0.01168),
    "boxcar": _cosines(1.0),
    "cosine": windows.cosine,
    "flattop": _cosines(0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "hamming": windows.hamming,
    "hann": windows.hann,
    "nuttall": windows.nuttall,
}


@registry.builtin("initializers", "stft", "STFTInitializer")
class STFT(Initializer):
    """Kernels `(frame_length, 1, bands)` with which a convolution is a short-time Fourier transform.

    `w[t] cos(-2 pi t k / n) / s` for the real side, with sin for the imaginary one; k the band of `bands = n / 2 + 1`.

    side: "real" or "imag". window: w, an array of frame_length values, or None, or one of the names "bartlett",
    "blackman", "blackmanharris", "boxcar", "cosine", "flattop", "hamming", "hann", "nuttall"; another window of scipy's
    is given as an array. scaling: s, the root of the sum of squares of the window ("density"), the sum of its amounts
    ("spectrum"), or 1 (None). periodic: whether the window is one period, rather than symmetric.
    Raises ValueError for another side, window or scaling, and for a shape or a window of another length.

    >>> STFT(window=None)((4, 1, 2))[:, 0, 1]
    tensor([ 1., -1.,  1., -1.])
    """

    def __init__(
        self, side: str = "real", window: Any = "hann", scaling: str | None = "density", periodic: bool = False
    ) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"STFT: side must be 'real' or 'imag', got {side!r}.")
        if isinstance(window, str) and window not in _WINDOWS:
            raise ValueError(
                f"STFT: window {window!r} is not one of {tuple(_WINDOWS)}.{nearest(window, _WINDOWS)} Give its values."
            )
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(f"STFT: scaling must be 'density', 'spectrum' or None, got {scaling!r}.")
        self.side, self.window, self.scaling, self.periodic = side, window, scaling, periodic

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        if len(shape) != 3:
            raise ValueError(f"STFT: expected a shape (frame_length, 1, bands), got {tuple(shape)}.")
        length, _, bands = shape
        if bands < 2:
            raise ValueError(f"STFT: expected 2 bands or more, got shape {tuple(shape)}.")
        times = torch.arange(length, dtype=torch.float64, device="cpu").reshape(-1, 1, 1)
        frequencies = torch.arange(bands, dtype=torch.float64, device="cpu") / (2 * (bands - 1))
        angles = -2 * math.pi * times * frequencies
        kernel = torch.cos(angles) if self.side == "real" else torch.sin(angles)
        return (kernel * self._scaled_window(length).reshape(-1, 1, 1)).to(as_dtype(dtype))

    def _scaled_window(self, length: int) -> Tensor:
        if self.window is None:
            return torch.ones(length, dtype=torch.float64, device="cpu")
        if isinstance(self.window, str):
            window = _WINDOWS[self.window](length, sym=not self.periodic, dtype=torch.float64, device="cpu")
        else:
            window = tensor(self.window).to(device="cpu", dtype=torch.float64)
        if tuple(window.shape) != (length,):
            raise ValueError(f"STFT: the window must be of shape ({length},), got {tuple(window.shape)}.")
        if self.scaling is None:
            return window
        return window / (window.square().sum().sqrt() if self.scaling == "density" else window.abs().sum())
