"""Text to tokens: standardized, split, joined to n-grams; as TensorFlow's string operations do it for Keras."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_LOWER = {ord(letter): letter.lower() for letter in string.ascii_uppercase}
_STRIPPED = dict.fromkeys(map(ord, string.punctuation))
_STANDARDS: dict[str, dict[int, str | None]] = {
    "lower": {**_LOWER},
    "strip_punctuation": {**_STRIPPED},
    "lower_and_strip_punctuation": {**_LOWER, **_STRIPPED},
}
STANDARDS = tuple(_STANDARDS)
"""The names of what `standardize` does."""

_WORD = re.compile(r"[^ \t\n\v\f\r]+")
_SPLITS: dict[str, Callable[[str], list[str]]] = {"whitespace": _WORD.findall, "character": list}
SPLITS = tuple(_SPLITS)
"""The names of the ways in which `split` splits."""


def strings_of(given: Any, encoding: str, who: str) -> np.ndarray:
    """Strings in any form as an array of objects that are `str`; bytes are decoded.

    given: a string, or a (nested) list or array of strings. Raises TypeError for what is no string, ValueError for
    lists of different lengths.

    >>> strings_of([["a b"], [b"c"]], "utf-8", "docs").tolist()
    [['a b'], ['c']]
    """
    if isinstance(given, (list, tuple)) and given and all(type(each) is str for each in given):
        array = np.empty(len(given), dtype=object)  # what NumPy would find out slowly
        array[:] = given
        return array
    array = np.array(given, dtype=object)
    flat = array.reshape(-1)
    for place, each in enumerate(flat):
        if isinstance(each, bytes):
            flat[place] = each.decode(encoding)
        elif isinstance(each, str):
            flat[place] = str(each)
        elif isinstance(each, (list, tuple)):
            raise ValueError(f"{who}: nested lists of strings must be equally long, to make an array.")
        else:
            raise TypeError(f"{who}: expected strings, got {each!r} of type {type(each).__name__}.")
    return flat.reshape(array.shape)


def standardize(texts: np.ndarray, how: str | Callable[[Any], Any] | None, who: str) -> np.ndarray:
    """Texts in lower case, without punctuation, or as a function returns them.

    how: one of `STANDARDS`; only the letters A to Z and the punctuation of ASCII count, as in Keras. Or a function,
    which gets a NumPy array of `str` dtype, and returns one of the same shape. None leaves texts as they are.
    Raises ValueError for another shape.

    >>> standardize(np.array(["Hello, World!"], dtype=object), "lower_and_strip_punctuation", "docs").tolist()
    ['hello world']
    """
    if how is None:
        return texts
    if callable(how):
        returned = strings_of(how(texts.astype(str)), "utf-8", f"{who}: what standardize returned")
        if returned.shape != texts.shape:
            raise ValueError(f"{who}: standardize made shape {returned.shape} of {texts.shape}; it must be the same.")
        return returned
    table, found = _STANDARDS[how], np.empty(texts.size, dtype=object)
    found[:] = [text.translate(table) for text in texts.reshape(-1)]
    return found.reshape(texts.shape)


def split(texts: np.ndarray, how: str | Callable[[Any], Any], who: str) -> list[list[str]]:
    """The tokens of each text.

    texts: `(texts,)` of `str`. how: "whitespace" (of ASCII), "character" (code points), or a function, which gets a
    NumPy array of `str` dtype, and returns a list or array of strings for each text. Raises ValueError for anything
    else that it returns.

    >>> split(np.array(["a  bc ", ""], dtype=object), "whitespace", "docs")
    [['a', 'bc'], []]
    """
    if not callable(how):
        return [_SPLITS[how](text) for text in texts]
    returned = how(texts.astype(str))
    rows = [] if isinstance(returned, (str, bytes)) or not hasattr(returned, "__len__") else list(returned)
    if len(rows) != len(texts) or any(isinstance(row, (str, bytes)) or not hasattr(row, "__len__") for row in rows):
        raise ValueError(
            f"{who}: split must return a list of strings for each of the {len(texts)} texts it gets as an array, got "
            f"{returned!r}."
        )
    return [strings_of(row, "utf-8", f"{who}: what split returned").reshape(-1).tolist() for row in rows]


def ngrams(tokens: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Neighbouring tokens joined by a space: all of the first width, then all of the second, ...

    >>> ngrams(["a", "b", "c"], (1, 2))
    ['a', 'b', 'c', 'a b', 'b c']
    """
    joined: list[str] = []
    for width in widths:
        if width == 1:
            joined.extend(tokens)
        else:
            joined.extend(" ".join(tokens[start : start + width]) for start in range(len(tokens) - width + 1))
    return joined
