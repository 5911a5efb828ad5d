"""`TextVectorization`, beside Keras's documented examples, and beside a few lines of Python that follow its source.

Keras's own layer needs TensorFlow, whose string operations it is made of.
"""

import copy
import json
import math
import re
import string
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import ostinato
from ostinato import layers

TextVectorization = layers.TextVectorization
TEXTS = ["foo bar", "bar baz", "baz bada boom"]


class Naive:
    """The same, straight from the description: standardize, split, n-grams, count, sort, look up."""

    def __init__(
        self, standardize="lower_and_strip_punctuation", split="whitespace", ngrams=None, mode="int", most=None
    ):
        self.standardize, self.split, self.ngrams, self.mode, self.most = standardize, split, ngrams, mode, most

    def tokens(self, text):
        if self.standardize and "lower" in self.standardize:
            text = re.sub("[A-Z]", lambda found: found.group().lower(), text)
        if self.standardize and "strip" in self.standardize:
            text = "".join(letter for letter in text if letter not in string.punctuation)
        tokens = [each for each in re.split("[ \t\n\v\f\r]", text) if each] if self.split == "whitespace" else [*text]
        if self.ngrams is None:
            return tokens
        widths = range(1, self.ngrams + 1) if isinstance(self.ngrams, int) else self.ngrams
        return [" ".join(each) for n in widths for each in zip(*(tokens[i:] for i in range(n)), strict=False)]

    def learn(self, texts):
        reserved = ["", "[UNK]"] if self.mode == "int" else ["[UNK]"]
        counts = Counter(token for text in texts for token in self.tokens(text))
        found = sorted(sorted(counts, reverse=True), key=lambda token: -counts[token])
        self.vocabulary = (reserved + [each for each in found if each not in ("", "[UNK]")])[: self.most]
        ratios = []
        for token in self.vocabulary[1:]:
            inside = sum(token in self.tokens(text) for text in texts)
            ratios.append(math.log(1 + len(texts) / (1 + inside)))
        self.factors = [float(np.mean(ratios or [0])), *ratios]

    def __call__(self, texts, length=None, width=None):
        unknown = self.vocabulary.index("[UNK]")
        rows = [
            [self.vocabulary.index(token) if token in self.vocabulary else unknown for token in self.tokens(text)]
            for text in texts
        ]
        if self.mode == "int":
            length = max(map(len, rows), default=0) if length is None else length
            return np.array([(row + [0] * length)[:length] for row in rows]).reshape(len(rows), length)
        counts = np.array([[row.count(n) for n in range(len(self.vocabulary))] for row in rows], dtype=float)
        found = {"multi_hot": counts > 0, "count": counts, "tf_idf": counts * self.factors}[self.mode]
        return np.pad(found, [(0, 0), (0, 0 if width is None else width - found.shape[1])])


some_text = st.lists(st.sampled_from(["[UNK]", *"abcABC  .,!'\t\n\\^é\u00a0\u2003\U0001f600"]), max_size=12).map(
    "".join
)


@settings(max_examples=200, deadline=None)
@given(
    learned=st.lists(some_text, min_size=1, max_size=6),
    called=st.lists(some_text, min_size=1, max_size=4),
    standardize=st.sampled_from([None, "lower", "strip_punctuation", "lower_and_strip_punctuation"]),
    split=st.sampled_from(["whitespace", "character"]),
    ngrams=st.sampled_from([None, 1, 2, (2,), (3, 1)]),
    mode=st.sampled_from(["int", "multi_hot", "count", "tf_idf"]),
    most=st.sampled_from([None, 2, 4, 9]),
    length=st.none() | st.integers(1, 6),
    padded=st.booleans(),
)
def test_is_the_naive_one(learned, called, standardize, split, ngrams, mode, most, length, padded):
    naive = Naive(standardize, split, ngrams, mode, most)
    naive.learn(learned)
    options = (
        {"output_sequence_length": length} if mode == "int" else {"pad_to_max_tokens": padded and most is not None}
    )
    layer = TextVectorization(most, standardize, split, ngrams, mode, **options)
    if not any(token not in ("", "[UNK]") for text in learned for token in naive.tokens(text)):
        with pytest.raises(ValueError, match="adapt found no token"):
            layer.adapt(learned)
        return
    layer.adapt(learned)
    assert layer.get_vocabulary() == naive.vocabulary
    assert layer.vocabulary_size() == len(naive.vocabulary)
    found = layer(called)
    right = naive(called, length, most if options.get("pad_to_max_tokens") else None)
    assert found.dtype is (torch.float32 if mode == "tf_idf" else torch.int64)
    np.testing.assert_allclose(found.numpy(), right, rtol=1e-6)
    fixed = (length if mode == "int" else right.shape[1],)
    assert layer.compute_output_shape((None, 1)) == layer.compute_output_shape((None,)) == (None, *fixed)


# -- Keras's documented examples


def test_words_learned():
    layer = TextVectorization(max_tokens=5000, output_mode="int", output_sequence_length=4)
    layer.adapt(TEXTS)
    assert layer([["foo qux bar"], ["qux baz"]]).tolist() == [[4, 1, 3, 0], [1, 2, 0, 0]]


def test_words_given():
    layer = TextVectorization(max_tokens=5000, output_sequence_length=4, vocabulary=["earth", "wind", "and", "fire"])
    assert layer.get_vocabulary() == ["", "[UNK]", "earth", "wind", "and", "fire"]
    assert layer.get_vocabulary(include_special_tokens=False) == ["earth", "wind", "and", "fire"]
    assert layer.vocabulary_size() == 6
    assert layer(["Wind, and fire", "water"]).tolist() == [[3, 4, 5, 0], [1, 0, 0, 0]]


def test_factors_given():
    """The examples of keras.layers.StringLookup(output_mode="tf_idf"), whose tokens are split already."""
    data = np.array([["a", "c", "d", "d"], ["d", "z", "b", "z"]])
    layer = TextVectorization(standardize=None, split=None, output_mode="tf_idf")
    layer.set_vocabulary(["a", "b", "c", "d"], idf_weights=[0.25, 0.75, 0.6, 0.4])
    np.testing.assert_allclose(layer(data), [[0, 0.25, 0, 0.6, 0.8], [1.0, 0, 0.75, 0, 0.4]], rtol=1e-6)
    layer.set_vocabulary(["[UNK]", "a", "b", "c", "d"], idf_weights=[0.9, 0.25, 0.75, 0.6, 0.4])
    np.testing.assert_allclose(layer(data), [[0, 0.25, 0, 0.6, 0.8], [1.8, 0, 0.75, 0, 0.4]], rtol=1e-6)
    for mode, right in {
        "multi_hot": [[0, 1, 0, 1, 1], [1, 0, 1, 0, 1]],
        "count": [[0, 1, 0, 1, 2], [2, 0, 1, 0, 1]],
    }.items():
        layer = TextVectorization(standardize=None, split=None, output_mode=mode, vocabulary=["a", "b", "c", "d"])
        assert layer(data).tolist() == right


def test_all_of_the_vocabulary_given_with_the_reserved_ones():
    layer = TextVectorization(vocabulary=["", "[UNK]", "a"])
    assert layer.get_vocabulary() == ["", "[UNK]", "a"]
    assert layer("a b").tolist() == [2, 1]


# -- what goes in


@pytest.mark.parametrize(
    "given",
    [
        ["foo bar", "baz"],
        ("foo bar", "baz"),
        [["foo bar"], ["baz"]],
        [b"foo bar", b"baz"],
        np.array(["foo bar", "baz"]),
        np.array([["foo bar"], ["baz"]]),
        np.array(["foo bar", "baz"], dtype=object),
        np.array([b"foo bar", b"baz"]),
        [np.str_("foo bar"), "baz"],
    ],
)
def test_strings_in_any_form(given):
    layer = TextVectorization(vocabulary=["foo", "bar", "baz"])
    assert layer(given).tolist() == [[2, 3], [4, 0]]
    learned = TextVectorization()
    learned.adapt(given)
    assert learned.get_vocabulary(False) == ["foo", "baz", "bar"]


def test_encoding_of_bytes():
    layer = TextVectorization(vocabulary=["é"], encoding="latin-1")
    assert layer(["é".encode("latin-1")]).tolist() == [[2]]


@pytest.mark.parametrize("mode", ["int", "count", "tf_idf"])
def test_one_string_and_none(mode):
    factors = {"idf_weights": [0.5, 2.0]} if mode == "tf_idf" else {}
    layer = TextVectorization(output_mode=mode, vocabulary=["a", "b"], **factors)
    assert torch.equal(layer("b c"), layer(["b c"])[0])
    assert layer([]).shape == (0, 0 if mode == "int" else 3)
    assert layer(np.array([], dtype=str).reshape(0, 1)).shape == (0, 0 if mode == "int" else 3)
    assert layer([""]).shape == (1, 0 if mode == "int" else 3)
    if mode == "int":
        fixed = TextVectorization(output_sequence_length=3, vocabulary=["a"])
        assert fixed([]).shape == (0, 3) and fixed([""]).tolist() == [[0, 0, 0]]


def test_texts_along_more_axes():
    layer = TextVectorization(vocabulary=["a", "b"])
    assert layer([[["a b"], ["b"]], [["c"], [""]]]).tolist() == [[[2, 3], [3, 0]], [[1, 0], [0, 0]]]


def test_tokens_that_are_split_already():
    layer = TextVectorization(split=None, standardize="lower", vocabulary=["a", "b c"])
    tokens = [["A", "b c", ""], ["x", "a", "a"]]
    assert layer(tokens).tolist() == [[2, 3, 0], [1, 2, 2]]
    assert layer.compute_output_shape((None, 3)) == (None, 3)
    cut = TextVectorization(split=None, vocabulary=["a"], output_sequence_length=2)
    assert cut(tokens).shape == cut.compute_output_shape((2, 3)) == (2, 2)
    learned = TextVectorization(split=None, output_mode="tf_idf")
    learned.adapt(np.array([["a", "b"], ["b", "b"], ["c", ""]]))
    assert learned.get_vocabulary() == ["[UNK]", "b", "c", "a"]
    np.testing.assert_allclose(learned.idf_weights[1:], np.log(1 + 3 / np.array([3, 2, 2])))


def test_functions_of_ones_own():
    def standardize(texts):
        assert isinstance(texts, np.ndarray) and texts.dtype.kind == "U"
        return np.char.replace(np.char.upper(texts), "-", ",")

    layer = TextVectorization(standardize=standardize, split=lambda texts: np.char.split(texts, ","))
    layer.adapt(["a-b,b", "é"])
    assert layer.get_vocabulary(False) == ["B", "É", "A"]
    assert layer([["b,a-x"], ["é"]]).tolist() == [[2, 4, 1], [3, 0, 0]]
    upper = TextVectorization(standardize=lambda texts: [text.lower() for text in texts], vocabulary=["é"])
    assert upper(["É"]).tolist() == [[2]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"standardize": lambda texts: texts[:1]}, r"standardize made shape \(1,\) of \(2,\)"),
        ({"split": lambda texts: ["a"]}, "split must return a list of strings for each of the 2 texts"),
        ({"split": lambda texts: list(texts)}, "split must return a list of strings for each"),
        ({"split": lambda texts: 5}, "split must return a list of strings for each"),
    ],
)
def test_functions_that_return_something_else(options, told):
    with pytest.raises(ValueError, match=told):
        TextVectorization(vocabulary=["a"], **options)(["a", "b"])


# -- adapt


def test_adapt_on_batches():
    def batches():
        yield ["hello world", "foo bar"]
        yield np.array([["baz qux"], ["hello foo"]])

    right = ["hello", "foo", "world", "qux", "baz", "bar"]
    layer = TextVectorization()
    layer.adapt(batches())
    assert layer.get_vocabulary(False) == right
    layer.adapt(DataLoader(["hello world", "foo bar", "baz qux", "hello foo"], batch_size=3))
    assert layer.get_vocabulary(False) == right
    layer.adapt(batches(), steps=1)
    assert layer.get_vocabulary(False) == ["world", "hello", "foo", "bar"]

    def endless():
        while True:
            yield ["hello world"]

    layer.adapt(endless(), steps=3)
    assert layer.get_vocabulary(False) == ["world", "hello"]


def test_adapt_begins_anew():
    layer = TextVectorization()
    layer.adapt(["a a b"])
    layer.adapt("c d d")
    assert layer.get_vocabulary(False) == ["d", "c"]
    layer.set_vocabulary(["x"])
    layer.adapt(["y"])
    assert layer.get_vocabulary(False) == ["y"]


@pytest.mark.parametrize("split", ["whitespace", "character"])
def test_decode_is_the_way_back(split):
    layer = TextVectorization(split=split, standardize=None)
    layer.adapt(TEXTS)
    assert layer.decode(layer(TEXTS)) == TEXTS
    assert layer.decode(layer("foo bar").numpy()) == layer.decode(layer("foo bar").tolist()) == "foo bar"
    assert (
        layer.decode([1, 0]) == "[UNK]" and layer.decode([]) == "" and layer.decode(np.zeros((2, 0), int)) == ["", ""]
    )


@pytest.mark.parametrize("ids", [[-1], [99], [0.5], [["a"]], [True]])
def test_decode_refuses_what_is_no_number_of_a_token(ids):
    with pytest.raises(ValueError, match="decode takes whole numbers from 0 to 2"):
        TextVectorization(vocabulary=["a"]).decode(ids)


# -- configs


CONFIGS = [
    {"vocabulary": ["one", "two"], "output_sequence_length": 5},
    {"vocabulary": np.array(["one", "two"]), "ngrams": (1, 2), "split": None, "standardize": None},
    {"vocabulary": ("one", "two"), "output_mode": "count", "max_tokens": 9, "pad_to_max_tokens": True, "ngrams": 2},
    {"vocabulary": ["one", "two"], "output_mode": "tf_idf", "idf_weights": [0.1, 0.7], "dtype": "float64"},
    {"vocabulary": ["[UNK]", "one"], "output_mode": "tf_idf", "idf_weights": np.array([0.3, 0.1]), "name": "text"},
    {"output_mode": "tf_idf"},
    {"split": "character", "encoding": "latin-1"},
]


@pytest.mark.parametrize("options", CONFIGS)
def test_config_there_and_back(options):
    layer = TextVectorization(**options)
    assert TextVectorization.from_config(layer.get_config()).get_vocabulary() == layer.get_vocabulary()
    if "vocabulary" not in options:
        with pytest.raises(RuntimeError, match="has no vocabulary yet"):
            TextVectorization.from_config(layer.get_config())(["one"])
        layer.adapt(["one two three two"])
    text = [["one", "two"]] if layer.split is None else ["one two four"]
    config = json.loads(json.dumps(layer.get_config()))
    whole = json.loads(json.dumps(layers.serialize(layer)))
    for again in (TextVectorization.from_config(config), layers.deserialize(whole), copy.deepcopy(layer)):
        assert json.loads(json.dumps(again.get_config())) == config
        found, right = again(text), layer(text)
        assert found.dtype == right.dtype and torch.equal(found, right)
        if "vocabulary" not in options:  # what was learned may be learned again
            again.adapt(["x"])
            assert again.get_vocabulary(False) == ["x"]


@ostinato.saving.register_keras_serializable(package="tests")
def comma(texts):
    return np.char.split(texts, ",")


def test_config_of_a_function_of_ones_own():
    layer = TextVectorization(split=comma, vocabulary=["a"], standardize=None)
    again = TextVectorization.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.split is comma and again(["a,b"]).tolist() == [[2, 1]]


def test_config_that_keras_wrote():
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}, "registered_name": None}
    config = {
        "name": "text_vectorization",
        "trainable": True,
        "dtype": policy,
        "max_tokens": None,
        "standardize": "lower",
        "split": "whitespace",
        "ngrams": [1, 2],
        "output_mode": "int",
        "output_sequence_length": 5,
        "pad_to_max_tokens": False,
        "sparse": False,
        "ragged": False,
        "vocabulary": ["one", "two"],
        "idf_weights": None,
        "encoding": "utf-8",
        "vocabulary_size": 4,
    }
    layer = layers.deserialize({"module": "keras.layers", "class_name": "TextVectorization", "config": config})
    assert layer(["Two one"]).tolist() == [[3, 2, 1, 0, 0]]
    assert TextVectorization.from_config({**config, "dtype": "string"}).vocabulary_size() == 4


@pytest.mark.parametrize("path", ["/etc/passwd", "vocabulary.txt", b"vocabulary.txt", "https://example.org/words"])
def test_a_vocabulary_is_never_read_from_a_path(path, tmp_path):
    file = tmp_path / "vocabulary.txt"
    file.write_text("one\ntwo\n")
    config = TextVectorization(vocabulary=["one"]).get_config()
    for each in (path, str(file), file):
        whole = {"class_name": "TextVectorization", "config": {**config, "vocabulary": each}}
        for make in (
            lambda each=each: TextVectorization(vocabulary=each),
            lambda each=each: TextVectorization().set_vocabulary(each),
            lambda whole=whole: TextVectorization.from_config(whole["config"]),
            lambda whole=whole: layers.deserialize(whole),
        ):
            with pytest.raises(ValueError, match=r"`vocabulary` must be a list or array of strings.* is not read here"):
                make()


# -- with models


def test_first_in_a_sequential():
    words = TextVectorization(vocabulary=["foo", "bar"])
    net = ostinato.Sequential([words, layers.Embedding(4, 3, mask_zero=True), layers.LSTM(2)])
    texts = np.array(["foo bar", "bar", "foo qux foo"])
    numbers = words(texts)
    assert torch.equal(net(texts), net.layers[2](net.layers[1](numbers)))
    again = ostinato.Sequential.from_config(json.loads(json.dumps(net.get_config())))
    again(texts)
    again.set_weights(net.get_weights())
    assert torch.equal(again(texts), net(texts))
    assert net.layers[0].weights == [] and net.layers[0].state_dict() == {}


def test_counts_into_a_dense_layer():
    words = TextVectorization(output_mode="count", vocabulary=["foo", "bar"])
    dense = layers.Dense(2)
    net = ostinato.Sequential([words, dense])
    assert torch.equal(net(np.array(["foo foo bar"])), dense(torch.tensor([[0.0, 2.0, 1.0]])))


def test_as_a_step_before_fit():
    texts, labels = np.array(["good film", "bad film", "good good", "bad"] * 4), np.array([1, 0, 1, 0] * 4)
    words = TextVectorization()
    words.adapt(texts)
    net = ostinato.Sequential(
        [layers.Embedding(words.vocabulary_size(), 4, mask_zero=True), layers.GRU(4), layers.Dense(1, "sigmoid")]
    )
    net.compile(ostinato.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    net.fit(words(texts), labels, epochs=15, verbose=0, seed=1)
    assert net.evaluate(words(texts), labels, verbose=0, return_dict=True)["accuracy"] == 1.0


@pytest.mark.parametrize("texts", [np.array(["foo", "bar"]), ["foo", "bar"]])
def test_fit_refuses_strings(texts):
    net = ostinato.Sequential([TextVectorization(vocabulary=["foo"]), layers.Embedding(4, 3)])
    net.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"fit: x: expected (numbers|arrays or tensors), got"):
        net.fit(texts, np.zeros(2), verbose=0)


def test_is_not_drawn():
    with pytest.raises(ValueError, match="an Input stands for numbers, not for strings"):
        TextVectorization(vocabulary=["a"])(ostinato.Input((1,)))


def test_float64():
    layer = TextVectorization(output_mode="tf_idf", vocabulary=["a"], idf_weights=[0.1], dtype="float64")
    assert layer(["a a"]).tolist() == [[0.0, 0.2]] and layer(["a"]).dtype is torch.float64


def test_output_is_where_the_layer_is():
    layer = TextVectorization(vocabulary=["a"]).to("meta")
    assert layer(["a"]).device.type == "meta"


# -- misuse


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_tokens": 1}, "`max_tokens` must be a whole number of at least 2, got 1"),
        ({"standardize": "upper"}, "`standardize` must be one of .*None or a function, got 'upper'"),
        ({"split": "words"}, "`split` must be one of"),
        ({"ngrams": 0}, "`ngrams` must be a positive whole number"),
        ({"ngrams": (1, 0.5)}, "`ngrams` must be a positive whole number, got 0.5"),
        ({"output_mode": "one_hot"}, "`output_mode` must be one of"),
        ({"output_sequence_length": 0}, "`output_sequence_length` must be a positive"),
        ({"output_sequence_length": 2, "output_mode": "count"}, "goes with output_mode='int', got 'count'"),
        ({"pad_to_max_tokens": True, "output_mode": "count"}, "pad_to_max_tokens=True needs `max_tokens`"),
        ({"sparse": True, "output_mode": "count"}, "sparse=True is not supported"),
        ({"ragged": True}, "ragged=True is not supported"),
        ({"encoding": "utf-99"}, "`encoding` 'utf-99' is not known"),
        ({"vocabulary": []}, "`vocabulary` must be a list of one string or more"),
        ({"vocabulary": [["a"]]}, r"got shape \(1, 1\)"),
        ({"vocabulary": [1, 2]}, "expected strings, got 1 of type int"),
        ({"vocabulary": {"a", "b"}}, "expected strings, got"),
        ({"vocabulary": ["a", "b", "a"]}, r"tokens more than once: \['a'\]"),
        ({"vocabulary": ["a", ""]}, "has the empty string at 1; it stands for padding"),
        ({"vocabulary": ["", "a"]}, "has the empty string at 0"),
        ({"vocabulary": ["a", "b"], "max_tokens": 3}, "2 tokens, with the 2 reserved more than max_tokens=3"),
        ({"vocabulary": ["a"], "output_mode": "tf_idf"}, "`idf_weights` are missing"),
        ({"vocabulary": ["a"], "idf_weights": [1.0]}, "`idf_weights` are given, for output_mode='int'"),
        ({"output_mode": "tf_idf", "idf_weights": [1.0]}, "`idf_weights` belong to a vocabulary"),
        ({"vocabulary": ["a"], "output_mode": "tf_idf", "idf_weights": [1.0, 2.0]}, r"each of the 1 tokens, .*\(2,\)"),
        ({"word": 1}, "takes no argument 'word'"),
    ],
)
def test_options_that_do_not_fit(options, told):
    with pytest.raises(ValueError, match=told):
        TextVectorization(**options)


def test_old_names_of_modes():
    assert TextVectorization(output_mode="binary").output_mode == "multi_hot"
    assert TextVectorization(output_mode="tf-idf").output_mode == "tf_idf"


def test_a_vocabulary_that_was_given_is_not_learned():
    with pytest.raises(ValueError, match="its vocabulary was given"):
        TextVectorization(vocabulary=["a"]).adapt(["b"])


@pytest.mark.parametrize("data", [["", " ,. "], [], iter(())])
def test_adapt_needs_a_token(data):
    with pytest.raises(ValueError, match="adapt found no token"):
        TextVectorization().adapt(data)


@pytest.mark.parametrize(
    ("data", "steps", "error", "told"),
    [
        (["a"], 1, ValueError, "`steps` counts the batches of an iterable"),
        (5, None, TypeError, "adapt takes strings or batches of them, got int"),
        ([1, 2], None, TypeError, "expected strings, got 1 of type int"),
        ([["a", "b"]], None, ValueError, r"texts to be split must be \(batch,\) or \(batch, 1\), got \(1, 2\)"),
        ([["a"], ["b", "c"]], None, ValueError, "nested lists of strings must be equally long"),
    ],
)
def test_adapt_on_something_else(data, steps, error, told):
    with pytest.raises(error, match=told):
        TextVectorization().adapt(data, steps=steps)


@pytest.mark.parametrize("given", [torch.ones(2), [torch.ones(2)], np.ones(2), [1, 2], None, 5])
def test_called_on_something_else(given):
    with pytest.raises(TypeError, match="expected strings, got"):
        TextVectorization(vocabulary=["a"])(given)


def test_called_without_a_vocabulary():
    layer = TextVectorization()
    assert (
        layer.get_vocabulary() == ["", "[UNK]"] and layer.get_vocabulary(False) == [] and layer.vocabulary_size() == 2
    )
    for ask in (lambda: layer(["a"]), lambda: layer.decode([1])):
        with pytest.raises(RuntimeError, match="has no vocabulary yet: pass `vocabulary`, or call adapt"):
            ask()


@pytest.mark.parametrize("options", [{"output_mode": "count"}, {"ngrams": 2}])
def test_what_has_no_way_back(options):
    with pytest.raises(ValueError, match="decode needs output_mode='int' and no n-grams"):
        TextVectorization(vocabulary=["a"], **options).decode([0])


def test_has_a_docstring_with_an_example():
    assert ">>>" in TextVectorization.__doc__
