"""Sequences of different lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ostinato.sequences.arrays import whole


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Make sequences equally long: short ones are padded, long ones truncated.

    sequences: lists, arrays or tensors of shape `(steps, ...)`, where steps may differ. maxlen: steps of the result;
    those of the longest sequence by default. dtype: of the result, as NumPy names it; `object` for strings. padding,
    truncating: "pre" at the beginning or "post" at the end of a sequence. value: what padding consists of.
    Returns an array `(samples, maxlen, ...)`.
    Raises ValueError for what is no sequence, for sequences whose steps differ in shape, and for a value that is a
    string where dtype is not.

    Mind that padding is "pre" by default, as in Keras; an `Embedding(mask_zero=True)` or `Masking` after it masks what
    is padded, wherever it is. To pad to the longest of each batch instead of the longest of all, see
    `bucket_by_length`. Source: keras/src/utils/sequence_utils.py.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]])
    array([[0, 0, 1],
           [0, 2, 3],
           [4, 5, 6]], dtype=int32)
    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2, padding="post", truncating="post", value=-1)
    array([[ 1, -1],
           [ 2,  3],
           [ 4,  5]], dtype=int32)
    """
    who = "pad_sequences"
    if not hasattr(sequences, "__len__"):
        raise ValueError(f"{who}: `sequences` must be a list of sequences, got {type(sequences).__name__}.")
    for what, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise ValueError(f"{who}: `{what}` must be 'pre' or 'post', got {given!r}.")
    lengths = [_length(sequence, position) for position, sequence in enumerate(sequences)]
    steps = max(lengths, default=0) if maxlen is None else whole(maxlen, "maxlen", who, least=0)
    chosen = np.dtype(dtype)
    if isinstance(value, str) and chosen.kind not in "OUST":
        raise ValueError(f"{who}: `value` is the string {value!r}, which dtype {chosen} cannot hold; use dtype=object.")
    # Of a long sequence only what is kept is converted.
    kept = [_truncated(sequence, steps, truncating) for sequence in sequences]
    first: Any = next((sequence for sequence in sequences if len(sequence)), [])
    shape = np.asarray(first[:1]).shape[1:]
    padded = np.full((len(kept), steps, *shape), value, dtype=chosen)
    for position, sequence in enumerate(kept):
        if len(sequence):
            array = np.asarray(sequence, dtype=chosen)
            if array.shape[1:] != shape:
                raise ValueError(
                    f"{who}: the steps of sequence {position} have shape {array.shape[1:]}, those of the first one "
                    f"{shape}; they must be the same."
                )
            padded[position, slice(len(array)) if padding == "post" else slice(steps - len(array), None)] = array
    return padded


def _length(sequence: Any, position: int) -> int:
    try:
        if isinstance(sequence, (str, bytes)):
            raise TypeError
        return len(sequence)
    except TypeError:
        raise ValueError(
            f"pad_sequences: `sequences` must be a list of sequences, but number {position} is {sequence!r}. For a "
            f"single sequence pass [sequence]."
        ) from None


def _truncated(sequence: Any, steps: int, truncating: str) -> Any:
    if truncating == "post":
        return sequence[:steps]
    return sequence[max(0, len(sequence) - steps) :]
