"""`TextVectorization`: text to numbers of words or characters."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ostinato.core.layer import Layer
from ostinato.core.registry import builtin
from ostinato.recurrence.nests import flatten
from ostinato.sequences import text
from ostinato.sequences.arrays import whole
from ostinato.sequences.padding import pad_sequences
from ostinato.sequences.vocabulary import PADDING, UNKNOWN, Counts, Vocabulary, given_tokens

_MODES = ("int", "multi_hot", "count", "tf_idf")
_OLD_NAMES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


@builtin("layers")
class TextVectorization(Layer):
    """The numbers of the words of a text, or of its characters: text as a network can read it.

    A text is standardized, split into tokens, the tokens are joined to n-grams, and each one becomes its number in the
    vocabulary, which is given or learned by `adapt`. Number 0 is padding, 1 a token that is not in the vocabulary.

    max_tokens: the most that the vocabulary may have, with the reserved ones "" and "[UNK]". standardize: "lower",
    "strip_punctuation", "lower_and_strip_punctuation" (of ASCII, as in Keras), None, or a function from an array of
    strings to one of the same shape. split: "whitespace" (of ASCII), "character", None for texts that are tokens
    already, along the last axis, or a function from an array of texts to lists of tokens. ngrams: the widths, or the
    largest of them; None for tokens as they are. output_mode: "int" for numbers; "multi_hot" for whether each token is
    in the text, "count" for how often, "tf_idf" for that times `log(1 + documents / (1 + documents with the token))`.
    output_sequence_length: numbers for each text, padded or cut off at the end; the longest text's by default.
    pad_to_max_tokens: whether the last axis of the other modes is max_tokens, not the vocabulary's size. vocabulary:
    a list or array of strings, with or without the reserved ones at the beginning; never the path of a file.
    idf_weights: the factors of "tf_idf", one for each token of the vocabulary. sparse, ragged: torch has no such
    tensors here. encoding: of texts that are bytes.

    Called with a string, or a list or array `(batch,)` or `(batch, 1)` of strings; returns int64 `(batch, time)`, in
    the other modes `(batch, tokens)` of int64, or of floats for "tf_idf". Strings are not tensors: `Input` cannot stand
    for them and `fit` takes none. Call the layer on the data before; or put it first into a `Sequential`, which can
    then be called on an array of strings.
    Raises RuntimeError if there is no vocabulary yet, TypeError for what is no string, ValueError for options that do
    not fit together. The vocabulary, given or learned, is in the config.
    Source: keras/src/layers/preprocessing/text_vectorization.py and index_lookup.py.

    >>> import ostinato
    >>> words = ostinato.layers.TextVectorization()
    >>> words.adapt(["foo bar", "bar baz", "baz bada boom"])
    >>> words.get_vocabulary()
    ['', '[UNK]', 'baz', 'bar', 'foo', 'boom', 'bada']
    >>> words(["Foo, qux: bar!", "baz"])
    tensor([[4, 1, 3],
            [2, 0, 0]])
    >>> words.decode([4, 1, 3, 0])
    'foo [UNK] bar'
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: Any = "lower_and_strip_punctuation",
        split: Any = "whitespace",
        ngrams: Any = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: Any = None,
        idf_weights: Any = None,
        sparse: bool = False,
        ragged: bool = False,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_tokens = None if max_tokens is None else whole(max_tokens, "max_tokens", self.described, least=2)
        self.standardize = self._one_of("standardize", standardize, text.STANDARDS)
        self.split = self._one_of("split", split, text.SPLITS)
        self.widths = self._widths(ngrams)
        self.output_mode = _OLD_NAMES.get(output_mode, output_mode)
        if self.output_mode not in _MODES:
            raise ValueError(f"{self.described}: `output_mode` must be one of {_MODES}, got {output_mode!r}.")
        if output_sequence_length is not None:
            output_sequence_length = whole(output_sequence_length, "output_sequence_length", self.described)
            if self.output_mode != "int":
                raise ValueError(
                    f"{self.described}: `output_sequence_length` goes with output_mode='int', got {output_mode!r}."
                )
        self.output_sequence_length = output_sequence_length
        if pad_to_max_tokens and max_tokens is None:
            raise ValueError(f"{self.described}: pad_to_max_tokens=True needs `max_tokens`.")
        self.pad_to_max_tokens = pad_to_max_tokens
        for what, asked in (("sparse", sparse), ("ragged", ragged)):
            if asked:
                raise ValueError(f"{self.described}: {what}=True is not supported; outputs are dense and padded.")
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"{self.described}: `encoding` {encoding!r} is not known to Python.") from None
        self.encoding = encoding
        self.idf_weights: np.ndarray | None = None
        self._vocabulary: Vocabulary | None = None
        self._adaptable = vocabulary is None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)
        elif idf_weights is not None:
            raise ValueError(f"{self.described}: `idf_weights` belong to a vocabulary, and none is given.")

    def _one_of(self, what: str, given: Any, names: tuple[str, ...]) -> Any:
        if given is None or callable(given) or (isinstance(given, str) and given in names):
            return given
        raise ValueError(f"{self.described}: `{what}` must be one of {names}, None or a function, got {given!r}.")

    def _widths(self, given: Any) -> tuple[int, ...] | None:
        if given is None:
            return None
        if isinstance(given, (list, tuple)):
            return tuple(whole(each, "ngrams", self.described) for each in given)
        return tuple(range(1, whole(given, "ngrams", self.described) + 1))

    # -- the vocabulary -----------------------------------------------------------------------------------------------

    @property
    def _reserved(self) -> tuple[str, ...]:
        return (PADDING, UNKNOWN) if self.output_mode == "int" else (UNKNOWN,)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The tokens in the order of their numbers; without special ones, only those that were given or learned."""
        if self._vocabulary is None:
            return list(self._reserved) if include_special_tokens else []
        return self._vocabulary.tokens[0 if include_special_tokens else len(self._reserved) :]

    def vocabulary_size(self) -> int:
        """How many tokens the vocabulary has, with the reserved ones: what an `Embedding` needs as `input_dim`."""
        return len(self.get_vocabulary())

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Replace the vocabulary.

        vocabulary: a list or array of strings, with or without the reserved ones at the beginning. idf_weights: of
        each, for output_mode="tf_idf" only; where "[UNK]" has none it gets the mean.
        Raises ValueError for what does not fit, before anything is replaced.
        """
        if (idf_weights is not None) != (self.output_mode == "tf_idf"):
            told = "are missing" if idf_weights is None else f"are given, for output_mode={self.output_mode!r}"
            raise ValueError(f"{self.described}: `idf_weights` {told}; they go with output_mode='tf_idf', and only it.")
        tokens, whole_one = given_tokens(vocabulary, self._reserved, self.max_tokens, self.described)
        if idf_weights is not None:
            weights = np.asarray(idf_weights, dtype=np.float64)
            if weights.shape != (len(vocabulary),):
                raise ValueError(
                    f"{self.described}: `idf_weights` must be a number for each of the {len(vocabulary)} tokens, got "
                    f"shape {weights.shape}."
                )
            self.idf_weights = weights if whole_one else np.concatenate([[weights.mean()], weights])
        self._vocabulary = Vocabulary(tokens, self._reserved)

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Learn the vocabulary of texts: the most frequent tokens first, those equally frequent from Z to A.

        data: a string, or a list or array of strings; or an iterable of batches of those. What was learned before is
        forgotten. batch_size: accepted for Keras's sake. steps: how many batches to take of an iterable.
        Raises ValueError if a vocabulary was given to the constructor, or if there is no token.
        """
        if not self._adaptable:
            raise ValueError(f"{self.described}: its vocabulary was given; only one that was not can be learned.")
        counts = Counts()
        for batch in self._batches(data, steps):
            for document in self._tokens(text.standardize(batch, self.standardize, self.described))[0]:
                counts.add(document)
        room = None if self.max_tokens is None else self.max_tokens - len(self._reserved)
        tokens = counts.most_common(room)
        if not tokens and not counts.most_common():
            raise ValueError(f"{self.described}: adapt found no token in the data.")
        if self.output_mode == "tf_idf":
            learned = counts.inverse_frequencies(tokens)
            self.idf_weights = np.concatenate([[learned.mean() if len(learned) else 0.0], learned])
        self._vocabulary = Vocabulary(tokens, self._reserved)

    def _batches(self, data: Any, steps: int | None) -> Iterator[np.ndarray]:
        if isinstance(data, (str, bytes, list, tuple)) or hasattr(data, "__array__"):
            if steps is not None:
                raise ValueError(f"{self.described}: `steps` counts the batches of an iterable; the data is one batch.")
            batch = text.strings_of(data, self.encoding, self.described)
            yield batch[:, None] if self.split is None and batch.ndim == 1 else batch  # each one a document
            return
        if not hasattr(data, "__iter__"):
            raise TypeError(f"{self.described}: adapt takes strings or batches of them, got {type(data).__name__}.")
        for batch in itertools.islice(data, steps):
            yield text.strings_of(batch, self.encoding, self.described)

    def decode(self, ids: Any) -> Any:
        """The text that numbers stand for, without padding; what was not in the vocabulary shows as "[UNK]".

        ids: whole numbers `(time,)`, for a string, or `(batch, time)`, for a list of strings.
        Characters are joined as they are, other tokens by a space. Raises ValueError for output modes and n-grams that
        do not keep the order of tokens, and for numbers that are not in the vocabulary.
        """
        if self.output_mode != "int" or self.widths not in (None, (1,)):
            raise ValueError(f"{self.described}: decode needs output_mode='int' and no n-grams, which keep the order.")
        numbers = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
        tokens = self._known().tokens
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= len(tokens)):
            raise ValueError(f"{self.described}: decode takes whole numbers from 0 to {len(tokens) - 1}, got {ids!r}.")
        if numbers.ndim > 1:
            return [self.decode(row) for row in numbers]
        joint = "" if self.split == "character" else " "
        return joint.join(tokens[number] for number in numbers.reshape(-1).tolist() if number != 0)

    def _known(self) -> Vocabulary:
        if self._vocabulary is None:
            raise RuntimeError(
                f"{self.described} has no vocabulary yet: pass `vocabulary`, or call adapt(texts) first."
            )
        return self._vocabulary

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(self, inputs: Any) -> Tensor:
        if not isinstance(inputs, np.ndarray):
            got = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
            raise TypeError(f"{self.described}: expected strings, got {got}.")
        vocabulary = self._known()
        documents, lead = self._tokens(text.standardize(inputs, self.standardize, self.described))
        if self.output_mode == "int":
            numbers = [vocabulary.numbers(tokens) for tokens in documents]
            found = pad_sequences(numbers, self.output_sequence_length, "int64", padding="post", truncating="post")
            return self._out(found, (*lead, found.shape[1]))
        found = np.zeros((len(documents), self._depth()), dtype=np.int64)
        for row, tokens in zip(found, documents, strict=True):
            np.add.at(row, vocabulary.numbers(token for token in tokens if token != PADDING), 1)
        if self.output_mode == "multi_hot":
            found = (found > 0).astype(np.int64)
        counts = self._out(found, (*lead, found.shape[1]))
        if self.output_mode != "tf_idf":
            return counts
        factors = torch.zeros(self._depth(), dtype=self._dtype, device=counts.device)
        factors[: len(vocabulary)] = torch.as_tensor(self.idf_weights, dtype=self._dtype, device=counts.device)
        return counts * factors

    def _out(self, found: np.ndarray, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(found).reshape(shape).to(self._where())

    def _tokens(self, texts: np.ndarray) -> tuple[list[list[str]], tuple[int, ...]]:
        """The tokens of each standardized text, flat, and the shape of the texts."""
        if self.split is None:
            lead, steps = texts.shape[:-1], (texts.shape or (1,))[-1]
            documents = texts.reshape(int(np.prod(lead)), steps).tolist()
        else:
            if texts.ndim > 1:
                if texts.shape[-1] != 1:
                    raise ValueError(
                        f"{self.described}: texts to be split must be (batch,) or (batch, 1), got {texts.shape}."
                    )
                texts = texts[..., 0]
            lead = texts.shape
            documents = text.split(texts.reshape(-1), self.split, self.described)
        if self.widths is not None:
            documents = [text.ngrams(tokens, self.widths) for tokens in documents]
        return documents, lead

    def _depth(self) -> int:
        padded = self.max_tokens if self.pad_to_max_tokens else None
        return self.vocabulary_size() if padded is None else padded

    def compute_output_shape(self, input_shape: Any) -> Any:
        """`(batch, time)`, or `(batch, tokens)`; None for a time that depends on the texts."""
        shape = tuple(input_shape)
        lead = shape[:-1] if self.split is None or len(shape) > 1 else shape
        if self.output_mode != "int":
            return (*lead, self._depth())
        kept = shape[-1] if self.split is None and self.widths is None and shape else None
        return (*lead, kept if self.output_sequence_length is None else self.output_sequence_length)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            f"{self.described}: an Input stands for numbers, not for strings, so no model can be drawn from text on. "
            f"Call the layer on the data, and begin the model at the numbers; or put the layer first into a Sequential "
            f"without Input, to be called on arrays of strings."
        )

    def _admit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Strings as one array, which is no nest of inputs as a list would be."""
        if not args or any(isinstance(leaf, Tensor) for leaf in flatten(args[0])):
            return super()._admit(args, kwargs)
        return (text.strings_of(args[0], self.encoding, self.described), *args[1:]), kwargs

    # -- config -------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, with the vocabulary as it is now."""
        config = super().get_config()
        config["ngrams"] = list(config["ngrams"]) if isinstance(config["ngrams"], (list, tuple)) else config["ngrams"]
        # The weight of "[UNK]" is among those of the others, so it is written with them.
        weighted = self.idf_weights is not None
        config["vocabulary"] = self.get_vocabulary(weighted) if self._vocabulary is not None else None
        config["idf_weights"] = self.idf_weights.tolist() if self.idf_weights is not None else None
        config["has_input_vocabulary"] = not self._adaptable
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
        """The layer that `get_config` described. Raises ValueError for a vocabulary that is the path of a file."""
        config = {key: value for key, value in config.items() if key != "vocabulary_size"}  # which Keras also writes
        if config.get("dtype") == "string":  # Keras 2: that of the texts
            del config["dtype"]
        given = config.pop("has_input_vocabulary", config.get("vocabulary") is not None)
        layer = super().from_config(config, custom_objects)
        layer._adaptable = not given
        return layer
