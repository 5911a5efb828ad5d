"""`pad_sequences` beside Keras's."""

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato

pad_sequences = ostinato.utils.pad_sequences


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=6),
    features=st.sampled_from([(), (2,), (2, 3)]),
    maxlen=st.none() | st.integers(1, 8),
    dtype=st.sampled_from(["int32", "int64", "float32", "float64"]),
    padding=st.sampled_from(["pre", "post"]),
    truncating=st.sampled_from(["pre", "post"]),
    value=st.sampled_from([0.0, -1, 7, 0.5]),
    listed=st.booleans(),
)
def test_is_that_of_keras(lengths, features, maxlen, dtype, padding, truncating, value, listed):
    rng = np.random.default_rng(sum(lengths))
    sequences = [rng.normal(size=(length, *features)) * 9 for length in lengths]
    if listed:
        sequences = [sequence.tolist() for sequence in sequences]
    options = {"maxlen": maxlen, "dtype": dtype, "padding": padding, "truncating": truncating, "value": value}
    found, right = pad_sequences(sequences, **options), keras.utils.pad_sequences(sequences, **options)
    assert found.dtype == right.dtype
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize("options", [{}, {"padding": "post"}, {"maxlen": 2}, {"maxlen": 2, "truncating": "post"}])
def test_strings(options):
    sequences = [["a"], [], ["b", "ccc", "d"]]
    options = {**options, "dtype": object, "value": "<pad>"}
    np.testing.assert_array_equal(pad_sequences(sequences, **options), keras.utils.pad_sequences(sequences, **options))


def test_tensors():
    found = pad_sequences([torch.tensor([1, 2]), torch.tensor([3])], dtype="int64")
    np.testing.assert_array_equal(found, [[1, 2], [0, 3]])


def test_none_and_nothing():
    assert pad_sequences([]).shape == (0, 0)
    assert pad_sequences([], maxlen=3).shape == (0, 3)
    assert pad_sequences([[], []]).shape == (2, 0)
    assert pad_sequences([[1, 2], [3]], maxlen=0).shape == (2, 0)


@pytest.mark.parametrize(
    ("sequences", "options", "told"),
    [
        (5, {}, "`sequences` must be a list of sequences, got int"),
        ([1, 2, 3], {}, "number 0 is 1. For a single sequence"),
        (["ab"], {}, "number 0 is 'ab'"),
        ([[1]], {"padding": "left"}, "`padding` must be 'pre' or 'post', got 'left'"),
        ([[]], {"truncating": "left"}, "`truncating` must be"),
        ([[1]], {"maxlen": -1}, "`maxlen` must be a whole number of at least 0"),
        ([[1]], {"value": "x"}, "use dtype=object"),
        ([[[1, 2]], [[1, 2, 3]]], {}, r"sequence 1 have shape \(3,\), those of the first one \(2,\)"),
    ],
)
def test_misuse(sequences, options, told):
    with pytest.raises(ValueError, match=told):
        pad_sequences(sequences, **options)
