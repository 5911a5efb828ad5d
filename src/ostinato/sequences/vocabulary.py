"""Tokens and their numbers, given or learned by counting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ostinato.sequences.text import strings_of

PADDING, UNKNOWN = "", "[UNK]"
"""Stand for padding and for tokens that are not in the vocabulary."""


class Vocabulary:
    """Tokens, each with a number: first the reserved ones, then the others in order.

    tokens: all different. reserved: `("", "[UNK]")`, or `("[UNK]",)` where padding has no number.

    >>> words = Vocabulary(["earth", "fire"], reserved=("", "[UNK]"))
    >>> words.numbers(["fire", "water", ""]), words.tokens
    ([3, 1, 0], ['', '[UNK]', 'earth', 'fire'])
    """

    def __init__(self, tokens: Sequence[str], reserved: tuple[str, ...]) -> None:
        self.tokens = [*reserved, *tokens]
        self.reserved = reserved
        self.unknown = reserved.index(UNKNOWN)
        self._numbers = {token: number for number, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def numbers(self, tokens: Iterable[str]) -> list[int]:
        """The number of each token, that of "[UNK]" for those that are not there."""
        find, unknown = self._numbers.get, self.unknown
        return [find(token, unknown) for token in tokens]


def given_tokens(given: Any, reserved: tuple[str, ...], most: int | None, who: str) -> tuple[list[str], bool]:
    """The tokens of a vocabulary that was given, without the reserved ones, and whether it began with those.

    given: a list, tuple or array of strings, never the path of a file. most: tokens, with the reserved ones.
    Raises ValueError for anything else, for none at all, for one that is there twice, and for too many.

    >>> given_tokens(["", "[UNK]", "earth"], ("", "[UNK]"), None, "docs")
    (['earth'], True)
    """
    if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__") or not hasattr(given, "__len__"):
        raise ValueError(
            f"{who}: `vocabulary` must be a list or array of strings, got {given!r}. A file is not read here, since "
            f"what a config names could be any file: read it yourself, and pass its lines."
        )
    try:
        array = strings_of(given, "utf-8", f"{who}: vocabulary")
    except TypeError as error:
        raise ValueError(str(error)) from None
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{who}: `vocabulary` must be a list of one string or more, got shape {array.shape}.")
    whole: list[str] = array.tolist()
    begins = tuple(whole[: len(reserved)]) == reserved
    tokens = whole[len(reserved) :] if begins else whole
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise ValueError(f"{who}: `vocabulary` has tokens more than once: {twice[:10]}.")
    if PADDING in tokens:
        raise ValueError(
            f"{who}: `vocabulary` has the empty string at {whole.index(PADDING, len(reserved) if begins else 0)}; it "
            f"stands for padding. Leave the reserved tokens out, or begin with {list(reserved)}."
        )
    if most is not None and len(reserved) + len(tokens) > most:
        raise ValueError(
            f"{who}: `vocabulary` has {len(tokens)} tokens, with the {len(reserved)} reserved more than "
            f"max_tokens={most}."
        )
    return tokens, begins


class Counts:
    """Counts tokens, document by document, to learn a vocabulary from.

    >>> counts = Counts()
    >>> counts.add(["b", "a", "b"])
    >>> counts.add(["c", "a"])
    >>> counts.most_common(), counts.inverse_frequencies(["b"]).round(4).tolist()
    (['b', 'a', 'c'], [0.6931])
    """

    def __init__(self) -> None:
        self.documents = 0
        self._tokens: Counter[str] = Counter()
        self._documents_with: Counter[str] = Counter()

    def add(self, document: Sequence[str]) -> None:
        """Enter a document's tokens."""
        self.documents += 1
        self._tokens.update(document)
        self._documents_with.update(set(document))

    def most_common(self, most: int | None = None) -> list[str]:
        """The most frequent tokens first; of equally frequent ones the last in the order of their characters first."""
        found = [(count, token) for token, count in self._tokens.items() if token not in (PADDING, UNKNOWN)]
        return [token for _, token in sorted(found, reverse=True)[:most]]

    def inverse_frequencies(self, tokens: Sequence[str]) -> np.ndarray:
        """`log(1 + documents / (1 + documents with the token))` for each token, `(tokens,)`, as Keras defines it."""
        return np.array([math.log(1 + self.documents / (1 + self._documents_with[token])) for token in tokens])
