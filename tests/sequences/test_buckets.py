"""Batches bucketed by length: every sample once, padded to its batch's longest, in an order by (seed, epoch)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import ostinato
from ostinato import layers

bucket_by_length, pad_sequences = ostinato.utils.bucket_by_length, ostinato.utils.pad_sequences


def drawn(count, longest=20, features=(), seed=0, below=9):
    """Sequences of whole numbers from 1, so that 0 is padding, and the number of each as its target."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(1, below, (length, *features)) for length in rng.integers(1, longest + 1, count)]
    return sequences, np.arange(count)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    size=st.integers(1, 9),
    boundaries=st.none() | st.lists(st.integers(1, 14), unique=True, max_size=4).map(sorted),
    shuffle=st.booleans(),
    padding=st.sampled_from(["pre", "post"]),
    value=st.sampled_from([0, -1]),
    features=st.sampled_from([(), (2,)]),
)
def test_each_sample_is_there_once_padded_to_the_longest_of_its_batch(
    lengths, size, boundaries, shuffle, padding, value, features
):
    rng = np.random.default_rng(len(lengths))
    sequences = [rng.integers(1, 9, (length, *features)) for length in lengths]
    batches = bucket_by_length(
        sequences,
        np.arange(len(lengths)),
        batch_size=size,
        boundaries=boundaries,
        shuffle=shuffle,
        padding=padding,
        value=value,
    )
    order = batches.order
    found = list(batches)
    seen = torch.cat([rows for _, rows in found])
    assert torch.equal(seen, order)
    assert sorted(seen.tolist()) == list(range(len(lengths)))
    assert len(found) == len(batches) and {len(rows) for _, rows in found} == batches.sizes
    for x, rows in found:
        assert len(rows) <= size
        inside = [sequences[row] for row in rows]
        right = np.full((len(rows), max(1, *map(len, inside), 1), *features), value)
        for place, each in zip(right, inside, strict=True):
            start = 0 if padding == "post" else len(place) - len(each)
            place[start : start + len(each)] = each
        np.testing.assert_array_equal(x.numpy(), right)
        if boundaries is not None:
            assert len({np.searchsorted(boundaries, lengths[row], side="right") for row in rows}) == 1
    if not shuffle and boundaries is None:
        assert [lengths[row] for row in seen] == sorted(lengths)


@pytest.mark.parametrize("boundaries", [None, [5, 10, 15]])
def test_shuffled_passes_are_a_function_of_seed_and_epoch(boundaries):
    sequences, numbers = drawn(60, longest=19)

    def made(seed=3):
        return bucket_by_length(sequences, numbers, 8, boundaries, seed=seed)

    def passes(batches, count):
        return [[rows.tolist() for _, rows in batches] for _ in range(count)]

    batches = made()
    first = passes(batches, 3)
    assert passes(made(), 3) == first
    assert passes(made(4), 3) != first
    as_sets = [{frozenset(rows) for rows in each} for each in first]
    assert as_sets[0] != as_sets[1] != as_sets[2]  # other company, and not only another order of the batches
    batches.set_epoch(1)
    assert passes(batches, 2) == first[1:]
    for rows in DataLoader(made(), batch_size=None):
        assert rows[1].tolist() in first[0]


def test_sorting_leaves_little_padding():
    for seed in range(3):
        sequences, _ = drawn(1000, longest=100, seed=seed)
        used = sum(map(len, sequences))
        sorted_, bucketed, whole = (
            sum(x.numel() for x in bucket_by_length(sequences, batch_size=32, **options))
            for options in ({}, {"boundaries": [20, 40, 60, 80]}, {"boundaries": [101]})
        )
        assert used / sorted_ > 0.95 and used / bucketed > 0.8 and used / whole < 0.6


def test_drop_last_leaves_out_other_samples_each_pass():
    sequences, numbers = drawn(35)
    batches = bucket_by_length(sequences, numbers, 8, drop_last=True, seed=0)
    assert batches.sizes == {8} and len(batches) == 4
    left = [frozenset(range(35)) - set(torch.cat([rows for _, rows in batches]).tolist()) for _ in range(4)]
    assert all(len(each) == 3 for each in left) and len(set(left)) > 1
    kept = bucket_by_length(sequences, numbers, 8, drop_last=True, shuffle=False)
    assert sorted(kept.order.tolist()) == list(range(32))
    bucketed = bucket_by_length(sequences, numbers, [8, 3], [10], drop_last=True)
    assert bucketed.sizes == {8, 3}


def test_each_bucket_may_have_its_own_batch_size():
    sequences = [np.ones(length) for length in (1, 2, 3, 4, 5, 6, 7, 8)]
    batches = bucket_by_length(sequences, batch_size=[3, 1], boundaries=[5], shuffle=False)
    assert [tuple(x.shape) for x in batches] == [(3, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8)]


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_targets_and_weights_by_step_are_padded_likewise(padding):
    sequences, _ = drawn(20)
    tags = [sequence * 2 for sequence in sequences]
    weights = [np.full(len(sequence), 0.5) for sequence in sequences]
    for x, y, w in bucket_by_length(sequences, tags, 6, sample_weight=weights, padding=padding):
        assert torch.equal(y, x * 2)
        assert torch.equal(w, (x != 0) * 0.5)


def test_several_inputs_and_targets_by_name():
    sequences, numbers = drawn(20)
    second = [sequence[: len(sequence) // 2] for sequence in sequences]
    x = {"all": sequences, "half": second, "age": numbers * 1.0}
    y = {"number": numbers, "tags": sequences}
    batches = bucket_by_length(x, y, 6, mask=True)
    assert torch.equal(batches.lengths, torch.tensor([len(each) for each in sequences]))
    for inputs, targets in batches:
        rows = targets["number"]
        assert torch.equal(inputs["age"], rows.double())
        assert torch.equal(inputs["all"], targets["tags"])
        assert set(inputs) == {"all", "half", "age", "all_mask", "half_mask"}
        for name in ("all", "half"):
            assert torch.equal(inputs[name] != 0, inputs[f"{name}_mask"])
            np.testing.assert_array_equal(
                inputs[name].numpy(),
                pad_sequences([x[name][row] for row in rows], inputs[name].shape[1], padding="post"),
            )


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([[1, 2], [3]], torch.int64),
        ([[1.5, 2], [3]], torch.float32),
        ([[], [3]], torch.int64),
        ([np.ones(2), np.ones(1)], torch.float64),
        ([np.ones(2, "uint8"), np.ones(1, "uint8")], torch.uint8),
        ([torch.ones(2, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16)], torch.bfloat16),
        (np.ones((3, 4), "float32"), torch.float32),
        (np.array([np.ones(2), np.ones(3)], dtype=object), torch.float64),
        ([[[1, 2]], [[3, 4], [5, 6]]], torch.int64),
        ([[], []], torch.float32),
    ],
)
def test_dtypes(given, dtype):
    (x,) = bucket_by_length(given)
    assert x.dtype is dtype and len(x) == len(given)


# -- in the trainer


def classifier(padded=0.0):
    ostinato.utils.set_random_seed(5)
    net = ostinato.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3), layers.Dense(2)])
    net.compile("sgd", ostinato.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    net(np.ones((1, 2), "int64"))
    return net


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("fit_shuffles", [False, True])
def test_fit_is_that_of_the_same_batches_one_by_one(shuffle, fit_shuffles):
    sequences, numbers = drawn(40)

    def batches():
        return bucket_by_length(sequences, numbers % 2, 7, shuffle=shuffle, seed=2)

    one, other = classifier(), classifier()
    held_out = bucket_by_length(sequences[:9], numbers[:9] % 2, 4, shuffle=False)
    logs = one.fit(batches(), epochs=3, shuffle=fit_shuffles, verbose=0, validation_data=held_out).history
    same = batches()
    for _ in range(3):
        for x, y in same:
            other.train_on_batch(x, y)
    for mine, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)
    assert len(logs["loss"]) == len(logs["val_accuracy"]) == 3


def test_results_are_those_of_one_padded_array():
    sequences, numbers = drawn(40)
    net, padded = classifier(), pad_sequences(sequences, padding="post")
    batches = bucket_by_length(sequences, numbers % 2, 7, shuffle=False)
    np.testing.assert_allclose(
        net.evaluate(batches, verbose=0), net.evaluate(padded, numbers % 2, verbose=0), rtol=1e-5
    )
    outputs = net.predict(batches, verbose=0)[batches.order.argsort()]
    np.testing.assert_allclose(outputs, net.predict(padded, verbose=0), rtol=1e-5, atol=1e-6)
    unlabelled = bucket_by_length(sequences, batch_size=7, shuffle=False)
    np.testing.assert_array_equal(net.predict(unlabelled, verbose=0)[unlabelled.order.argsort()], outputs)


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_the_mask_reaches_the_model(padding):
    """A model with an input for the mask, beside one in which Masking finds it."""
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 2)).astype("float32") for length in rng.integers(1, 9, 30)]
    labels = rng.normal(size=(30, 1))
    x, mask = ostinato.Input((None, 2)), ostinato.Input((None,), dtype="bool")
    one = ostinato.Model([x, mask], layers.Dense(1)(layers.GRU(3)(x, mask=mask)))
    other = ostinato.Sequential([ostinato.Input((None, 2)), layers.Masking(-9.0), layers.GRU(3), layers.Dense(1)])
    other.set_weights(one.get_weights())
    for net in (one, other):
        net.compile("sgd", "mse")
    options = {"batch_size": 7, "seed": 1, "padding": padding}
    one.fit(bucket_by_length(sequences, labels, mask=True, **options), epochs=2, verbose=0)
    other.fit(bucket_by_length(sequences, labels, value=-9, **options), epochs=2, verbose=0)
    for mine, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)


def test_stateful_is_refused_where_sizes_differ():
    sequences, numbers = drawn(20, features=(2,))
    net = ostinato.Sequential([ostinato.Input(batch_shape=(8, None, 2)), layers.LSTM(1, stateful=True)])
    net.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"stateful, so all batches must have the same size; these have \[8, 4\]"):
        net.fit(bucket_by_length(sequences, numbers, 8), verbose=0)
    net.fit(bucket_by_length(sequences, numbers, 8, drop_last=True), verbose=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sequences": 5}, "sequences must be a list of sequences, got int"),
        ({"sequences": "abc"}, "sequences must be a list of sequences, got str"),
        ({"sequences": []}, "there are no sequences"),
        ({"sequences": [1, 2, 3]}, "sequences: number 0 is a single number"),
        ({"sequences": [np.ones((1, 2)), np.ones((2, 3))]}, r"number 0 have \(2,\), and those of number 1 \(3,\)"),
        ({"sequences": {"age": np.ones(3)}}, "none of the sequences is a list of sequences"),
        ({"targets": np.ones(2)}, r"must be equally many, got \[3, 2\]"),
        ({"targets": 1}, "targets must have an entry for each sample"),
        ({"sample_weight": np.ones(3)}, "sample_weight goes with targets"),
        ({"batch_size": 0}, "`batch_size` must be a positive"),
        ({"batch_size": [1, 2]}, r"several batch sizes, \[1, 2\], need boundaries"),
        ({"batch_size": [1, 2], "boundaries": [1, 2]}, "2 boundaries make 3 buckets; got 2 batch sizes"),
        ({"boundaries": [3, 2]}, "`boundaries` must be rising"),
        ({"boundaries": [0]}, "`boundaries` must be a positive"),
        ({"padding": "left"}, "`padding` must be 'pre' or 'post'"),
        ({"value": 0.5}, "torch.int64 has no 0.5, with which to pad"),
        ({"value": float("nan")}, "torch.int64 has no nan"),
        ({"value": "x"}, "`value` must be a number"),
        ({"shuffle": None}, "`shuffle` must be True or False"),
        ({"drop_last": 1}, "`drop_last` must be True or False"),
        ({"drop_last": True}, "drop_last=True leaves no batch of 3 samples"),
        ({"seed": 0.5}, "`seed` must be a whole number"),
    ],
)
def test_misuse(options, told):
    with pytest.raises(ValueError, match=told):
        bucket_by_length(**{"sequences": [[1], [1, 2], [3]], **options})


def test_strings_are_no_sequences():
    with pytest.raises(TypeError, match="sequences 0: expected numbers, got str"):
        bucket_by_length(["ab", "c"])
