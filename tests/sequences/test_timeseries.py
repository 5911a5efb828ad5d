"""Windows of a series, beside a loop that follows Keras's own, in NumPy; Keras's needs TensorFlow or grain."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, random_split

import ostinato
from ostinato import layers
from ostinato.sequences.timeseries import TimeseriesWindows

timeseries = ostinato.utils.timeseries_dataset_from_array


def naive(data, targets, length, stride=1, rate=1, start=None, end=None):
    """The windows one by one, as keras/src/utils/timeseries_dataset_utils.py defines them."""
    start, end = start or 0, len(data) if end is None else end
    count = end - start - (length - 1) * rate
    if targets is not None:
        count = min(count, len(targets))
    begins = range(0, count, stride)
    x = [np.stack([data[start:end][begin + step * rate] for step in range(length)]) for begin in begins]
    return x, None if targets is None else [targets[start:end][begin] for begin in begins]


def joined(batches):
    columns = list(zip(*(batch if isinstance(batch, tuple) else (batch,) for batch in batches), strict=True))
    return [torch.cat(column).numpy() for column in columns]


@pytest.mark.parametrize("features", [(), (3,), (2, 3)])
@pytest.mark.parametrize(("start", "end"), [(None, None), (3, None), (None, 20), (5, 23), (0, 1 + 4 * 3)])
@pytest.mark.parametrize(("length", "stride", "rate"), [(1, 1, 1), (4, 1, 1), (5, 3, 1), (4, 2, 3), (2, 5, 11)])
def test_windows_and_targets(features, start, end, length, stride, rate):
    rng = np.random.default_rng(0)
    data, targets = rng.normal(size=(29, *features)), rng.integers(0, 9, (29, 2))
    options = {"sequence_stride": stride, "sampling_rate": rate, "start_index": start, "end_index": end}
    x, y = naive(data, targets, length, stride, rate, start, end)
    for size in (1, 2, 7, 128):
        batches = timeseries(data, targets, length, batch_size=size, **options)
        found = list(batches)
        assert len(found) == len(batches) == -(-len(x) // size)
        assert {len(batch[0]) for batch in found} == batches.sizes
        windows, labels = joined(found)
        np.testing.assert_array_equal(windows, x)
        np.testing.assert_array_equal(labels, y)
        (alone,) = joined(timeseries(data, None, length, batch_size=size, **options))
        np.testing.assert_array_equal(alone, x)


def test_the_first_example_of_keras():
    windows = joined(timeseries(np.arange(99), None, 10, sequence_stride=3, sampling_rate=2))[0]
    np.testing.assert_array_equal(windows[0], np.arange(0, 20, 2))
    np.testing.assert_array_equal(windows[1], np.arange(3, 23, 2))
    np.testing.assert_array_equal(windows[-1], np.arange(78, 98, 2))


def test_the_second_example_of_keras():
    data = np.arange(40)
    x, y = next(iter(timeseries(data[:-10], data[10:], sequence_length=10)))
    np.testing.assert_array_equal(x[0], data[:10])
    assert y[0] == data[10]


def test_the_third_example_of_keras():
    x, y = np.arange(100), np.arange(100) * 2
    pair = [timeseries(each, None, 20, sequence_stride=20, shuffle=True, seed=3) for each in (x, y)]
    for inputs, targets in zip(*pair, strict=True):
        assert torch.equal(inputs * 2, targets)


@pytest.mark.parametrize("given", [5, 12, 13])
def test_windows_end_with_the_targets(given):
    data = np.arange(30)
    x, y = joined(timeseries(data, data[:given] * 10, 4, sequence_stride=3))
    np.testing.assert_array_equal(y, np.arange(0, given, 3) * 10)
    np.testing.assert_array_equal(x[:, 0], np.arange(0, given, 3))
    x, y = joined(timeseries(data, data[:given] * 10, 4, start_index=2))
    np.testing.assert_array_equal(y, np.arange(2, given) * 10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "uint16"])
@pytest.mark.parametrize("kind", ["array", "frozen", "reversed", "strided", "big-endian", "tensor", "list"])
def test_kinds_of_data(kind, dtype):
    data = np.arange(10).astype(dtype)
    expected = data[:3]
    if kind == "frozen":
        data.setflags(write=False)
    if kind == "reversed":
        data, expected = data[::-1], data[::-1][:3]
    if kind == "strided":
        data, expected = data[::2], data[::2][:3]
    if kind == "big-endian":
        data = data.astype(np.dtype(dtype).newbyteorder(">"))
    if kind == "tensor":
        data = torch.as_tensor(data)
    if kind == "list":
        data = data.tolist()
    window = timeseries(data, None, 3)[0][0]
    np.testing.assert_array_equal(window.numpy(), expected)
    if kind == "list":
        assert window.dtype is (torch.float32 if dtype.startswith("float") else torch.int64)
    elif (kind, dtype) != ("tensor", "uint16"):  # tensors keep their dtype, whatever it is
        assert str(window.dtype) == f"torch.{dtype}".replace("uint16", "int64")


def test_features_stored_the_other_way_round():
    data = np.arange(60.0).reshape(3, 20).T
    x, y = joined(timeseries(data, data, 4, sequence_stride=3, sampling_rate=2))
    right = naive(data, data, 4, 3, 2)
    np.testing.assert_array_equal(x, right[0])
    np.testing.assert_array_equal(y, right[1])


def test_nothing_is_kept_but_the_series_and_batches_are_copies():
    data = np.arange(1_000, dtype="float32")
    batches = timeseries(data, data, 100, batch_size=4)
    assert batches.windows.inputs.data_ptr() == torch.from_numpy(data).data_ptr()
    x, y = batches[0]
    assert x.is_contiguous() and y.is_contiguous()
    x.zero_(), y.zero_()
    np.testing.assert_array_equal(data, np.arange(1_000))


# -- order


def passes(batches, count):
    return [torch.cat([y for _, y in batches]).tolist() for _ in range(count)]


@pytest.mark.parametrize("size", [1, 5, 128])
def test_shuffled_windows_are_a_function_of_seed_and_epoch(size):
    data = np.arange(40)

    def made(seed=7):
        return timeseries(data, data, 3, batch_size=size, shuffle=True, seed=seed)

    batches = made()
    first = passes(batches, 3)
    assert all(sorted(each) == list(range(38)) for each in first)
    assert len({tuple(each) for each in (*first, range(38))}) == 4
    assert passes(made(), 3) == first
    assert passes(made(8), 3) != first
    batches.set_epoch(1)
    assert passes(batches, 2) == first[1:]
    for x, y in made():
        assert torch.equal(x, y[:, None] + torch.arange(3))


def test_without_a_seed_the_global_one_governs():
    def order(seed):
        ostinato.utils.set_random_seed(seed)
        return passes(timeseries(np.arange(30), np.arange(30), 3, shuffle=True), 2)

    assert order(1) == order(1) != order(2)


def test_indices_are_those_of_the_next_pass():
    batches = timeseries(np.arange(30), None, 3, batch_size=8, shuffle=True, seed=1)
    for _ in range(2):
        looked_at = [batches[index] for index in range(len(batches))]
        order = batches.order
        found = list(batches)
        for one, other in zip(looked_at, found, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(torch.cat(found)[:, 0], order)
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_torch_loader():
    batches = timeseries(np.arange(30.0), np.arange(30), 3, batch_size=8, shuffle=True, seed=1)
    loaded = list(DataLoader(batches, batch_size=None))
    for one, other in zip(loaded, batches, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("targets", [False, True])
def test_without_a_batch_size_single_windows(targets):
    data = np.arange(20.0)
    windows = timeseries(data, data if targets else None, 4, batch_size=None, sequence_stride=2)
    assert isinstance(windows, torch.utils.data.Dataset) and len(windows) == 9
    found = list(windows)
    for index, sample in enumerate(found):
        x, y = sample if targets else (sample, None)
        np.testing.assert_array_equal(x, data[2 * index : 2 * index + 4])
        assert y is None or (y.shape == () and y == data[2 * index])
    shuffled = timeseries(data, None, 4, batch_size=None, shuffle=True, seed=0)
    assert sorted(float(x[0]) for x in shuffled) == list(range(17))
    train, test = random_split(windows, [6, 3])
    assert len(next(iter(DataLoader(train, 4)))) == (2 if targets else 4) and len(test) == 3


# -- in the trainer


def model(stateful=False, batch=None):
    ostinato.utils.set_random_seed(5)
    net = ostinato.Sequential(
        [ostinato.Input(batch_shape=(batch, 4, 2)), layers.LSTM(3, stateful=stateful), layers.Dense(1)]
    )
    net.compile("sgd", "mse")
    return net


SERIES = np.random.default_rng(1).normal(size=(50, 2))
NEXT = SERIES[4:, :1]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("fit_shuffles", [False, True])
def test_fit_is_that_of_the_same_batches_one_by_one(shuffle, fit_shuffles):
    def batches():
        return timeseries(SERIES, NEXT, 4, batch_size=7, shuffle=shuffle, seed=2)

    one, other = model(), model()
    logs = one.fit(batches(), epochs=3, shuffle=fit_shuffles, verbose=0, validation_data=batches()).history
    same = batches()
    for _ in range(3):
        for x, y in same:
            other.train_on_batch(x, y)
    for mine, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)
    assert len(logs["loss"]) == len(logs["val_loss"]) == 3


def test_evaluate_and_predict_are_those_of_arrays():
    net, batches = model(), timeseries(SERIES, NEXT, 4, batch_size=7)
    x, y = joined(batches)
    assert net.evaluate(batches, verbose=0) == pytest.approx(net.evaluate(x, y, batch_size=7, verbose=0), rel=1e-6)
    np.testing.assert_array_equal(net.predict(batches, verbose=0), net.predict(x, batch_size=7, verbose=0))
    unlabelled = timeseries(SERIES, None, 4, batch_size=7, end_index=49)
    assert net.predict(unlabelled, verbose=0).shape == (46, 1)
    assert net.predict(unlabelled, steps=2, verbose=0).shape == (14, 1)


def test_steps_per_epoch_go_on_where_the_last_stopped():
    one, other = model(), model()
    one.fit(timeseries(SERIES, NEXT, 4, batch_size=7), epochs=2, steps_per_epoch=3, verbose=0)
    for x, y in itertools.islice(timeseries(SERIES, NEXT, 4, batch_size=7), 6):
        other.train_on_batch(x, y)
    for mine, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)


def test_fit_takes_single_windows_as_any_dataset():
    windows = timeseries(SERIES, NEXT, 4, batch_size=None)
    assert isinstance(windows, TimeseriesWindows)
    one, other = model(), model()
    one.fit(windows, batch_size=5, shuffle=False, epochs=2, verbose=0)
    other.fit(timeseries(SERIES, NEXT, 4, batch_size=5), epochs=2, verbose=0)
    for mine, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)
    model().fit(windows, batch_size=5, verbose=0)


def test_stateful_needs_batches_of_one_size():
    with pytest.raises(ValueError, match=r"stateful, so all batches must have the same size; these have \[7, 4\]"):
        model(stateful=True, batch=7).fit(timeseries(SERIES, NEXT, 4, batch_size=7), verbose=0)
    model(stateful=True, batch=23).fit(timeseries(SERIES, NEXT, 4, batch_size=23), epochs=2, verbose=0)


def test_batch_size_beside_batches_is_refused():
    with pytest.raises(ValueError, match="TimeseriesBatches, whose batches are made already; batch_size"):
        model().fit(timeseries(SERIES, NEXT, 4), batch_size=7, verbose=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"start_index": -1}, "`start_index` must be a whole number of at least 0"),
        ({"start_index": 11}, "`start_index` must be lower than the length of the data, 10, got 11"),
        ({"end_index": -1}, "`end_index` must be a positive whole number"),
        ({"end_index": 11}, "`end_index` must be at most the length of the data, 10, got 11"),
        ({"start_index": 5, "end_index": 5}, "`end_index` must be higher than `start_index`, 5, got 5"),
        ({"sampling_rate": 0}, "`sampling_rate` must be a positive"),
        ({"sampling_rate": 10}, "`sampling_rate` must be lower than the length of the data, 10"),
        ({"sequence_stride": 0}, "`sequence_stride` must be a positive"),
        ({"sequence_stride": 10}, "`sequence_stride` must be lower"),
        ({"sequence_length": 0}, "`sequence_length` must be a positive"),
        ({"sequence_length": 2.5}, "`sequence_length` must be"),
        ({"sequence_length": 11}, "no window: sequence_length=11 with sampling_rate=1 takes 11 steps, .* has 10"),
        ({"sampling_rate": 5}, "takes 11 steps, and the data has 10"),
        ({"start_index": 8}, "takes 3 steps, and the data has 2 from start_index to end_index"),
        ({"batch_size": 0}, "`batch_size` must be a positive"),
        ({"shuffle": 1}, "`shuffle` must be True or False"),
        ({"seed": "x", "shuffle": True}, "`seed` must be a whole number"),
        ({"format": "tf"}, "`format` should be 'torch'"),
        ({"data": 5}, "data must have a step at least"),
        ({"data": []}, "data must have a step at least"),
        ({"data": [[1], [1, 2]]}, "data: the parts of a list must all have the same shape"),
        ({"targets": []}, r"first one begins at 0; got targets of shape \(0,\)"),
        ({"targets": np.ones(2), "start_index": 3}, "first one begins at 3"),
    ],
)
def test_misuse(options, told):
    with pytest.raises(ValueError, match=told):
        timeseries(**{"data": np.arange(10), "targets": None, "sequence_length": 3, **options})


def test_strings_are_no_series():
    with pytest.raises(TypeError, match="data: expected numbers, got list of dtype <U1"):
        timeseries(["a", "b"], None, 1)
