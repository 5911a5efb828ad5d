"""Data of every kind becomes the same batches, and trains the same model."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import ostinato
from ostinato import layers, random
from ostinato.training.sources.base import Reader, unpack
from ostinato.training.sources.opened import Epochs, open_source
from runs import classifier, crossentropy, data, inputs_and_targets, same_weights, tail_and_head

CPU = torch.device("cpu")
X, Y = data(11)
WEIGHTS = np.linspace(0.5, 2, 11, dtype=np.float32)


class Samples(Dataset):
    """A dataset of samples, one by one."""

    def __init__(self, *columns):
        self.columns = columns

    def __len__(self):
        return len(self.columns[0])

    def __getitem__(self, index):
        found = tuple(column[index] for column in self.columns)
        return found if len(found) > 1 else found[0]


class Stream(IterableDataset):
    def __init__(self, *columns):
        self.columns = columns

    def __iter__(self):
        yield from zip(*self.columns, strict=True)


class Batches:
    """Whole batches by index, like Keras's PyDataset."""

    def __init__(self, *columns, size=4):
        self.columns, self.size, self.ended = columns, size, 0

    def __len__(self):
        return -(-len(self.columns[0]) // self.size)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        return tuple(column[index * self.size : (index + 1) * self.size] for column in self.columns)

    def on_epoch_end(self):
        self.ended += 1


class Again:
    """An iterable that begins anew each time, and tells no length."""

    def __init__(self, *columns):
        self.batches = Batches(*columns)

    def __iter__(self):
        yield from (self.batches[i] for i in range(len(self.batches)))


KINDS = {
    "dataset": lambda *columns: (Samples(*columns), 4),
    "tensor dataset": lambda *columns: (TensorDataset(*map(torch.as_tensor, columns)), 4),
    "iterable dataset": lambda *columns: (Stream(*columns), 4),
    "loader": lambda *columns: (DataLoader(Samples(*columns), batch_size=4), None),
    "loader of a stream": lambda *columns: (DataLoader(Stream(*columns), batch_size=4), None),
    "sequence": lambda *columns: (Batches(*columns), None),
    "iterable": lambda *columns: (Again(*columns), None),
}


def reader(class_weight=None):
    return Reader(torch.float32, "fit", class_weight)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [(X, Y), (X, Y, WEIGHTS)], ids=["x y", "x y weights"])
def test_batches_are_those_of_the_arrays(kind, columns):
    given, size = KINDS[kind](*columns)
    source = open_source(reader(), given, None, None, size)
    expected = open_source(reader(), *(*columns, None)[:3], 4)
    assert source.steps in (None, 3) and source.sizes <= expected.sizes
    for _ in range(2):  # and again
        for mine, right in zip(source.batches(CPU), expected.batches(CPU), strict=True):
            assert mine.samples == right.samples
            for a, b in zip(mine[:3], right[:3], strict=True):
                assert (a is None) == (b is None)
                assert a is None or (a.dtype is b.dtype and torch.equal(a, b))


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_it_is_training_on_the_arrays(kind):
    ours, other = same_weights(classifier(), classifier())
    given, size = KINDS[kind](X, Y, WEIGHTS)
    right = ours.fit(X, Y, sample_weight=WEIGHTS, batch_size=4, epochs=3, shuffle=False, verbose=0)
    mine = other.fit(given, batch_size=size, epochs=3, shuffle=False, verbose=0, validation_data=given)
    for name, values in right.history.items():
        assert mine.history[name] == pytest.approx(values, rel=1e-6)
    for a, b in zip(ours.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    evaluated = ours.evaluate(X, Y, sample_weight=WEIGHTS, batch_size=4, verbose=0, return_dict=True)
    assert other.evaluate(given, batch_size=size, verbose=0, return_dict=True) == pytest.approx(evaluated, rel=1e-5)
    assert mine.history["val_loss"][-1] == pytest.approx(evaluated["loss"], rel=1e-5)
    predicted = other.predict(given, batch_size=size, verbose=0)
    np.testing.assert_allclose(predicted, ours.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_generator_is_passed_over_once():
    ours, other = same_weights(classifier(), classifier())
    right = ours.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    mine = other.fit(iter(Again(X, Y)), shuffle=False, verbose=0)
    assert mine.history["loss"] == pytest.approx(right.history["loss"])
    with pytest.warns(UserWarning, match="gave no more batches after epoch 1 of 5; training ends here"):
        ended = other.fit(iter(Again(X, Y)), epochs=5, verbose=0)
    assert ended.epoch == [0]
    with pytest.raises(ValueError, match="fit: the data gave no batch"):
        other.fit(iter([]), verbose=0)
    with pytest.raises(ValueError, match="predict: the data gave no batch"):
        other.predict(iter([]), verbose=0)


def test_an_endless_generator_in_epochs_of_some_steps():
    def forever():
        while True:
            yield from Again(X, Y)

    ours, other = same_weights(classifier(), classifier())
    right = ours.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    mine = other.fit(forever(), epochs=2, steps_per_epoch=3, validation_data=forever(), validation_steps=3, verbose=0)
    assert mine.history["loss"] == pytest.approx(right.history["loss"])
    assert mine.params["steps"] == 3 and len(mine.history["val_loss"]) == 2
    assert other.evaluate(forever(), steps=3, verbose=0)[0] == pytest.approx(mine.history["val_loss"][-1])
    assert len(other.predict(forever(), steps=2, verbose=0)) == 8


@pytest.mark.parametrize(
    ("steps", "epochs", "sizes"),
    [
        (2, 4, [[4, 4], [3], [4, 4], [3]]),
        (3, 2, [[4, 4, 3], [4, 4, 3]]),
        (1, 4, [[4], [4], [3], [4]]),
        (5, 2, [[4, 4, 3], [4, 4, 3]]),
    ],
)
def test_epochs_go_on_where_the_last_one_stopped(steps, epochs, sizes):
    for kind in (lambda: (X, Y, 4), lambda: (Again(X, Y), None, None), lambda: (Batches(X, Y), None, None)):
        x, y, size = kind()
        cut = Epochs(open_source(reader(), x, y, None, size), steps, None, "fit")
        found = []
        for expected in sizes:
            if len(expected) < steps:
                with pytest.warns(UserWarning, match=f"the data ended after {len(expected)} of {steps} steps"):
                    found.append([batch.samples for batch in cut.batches(CPU)])
            else:
                found.append([batch.samples for batch in cut.batches(CPU)])
        assert found == sizes and len(found) == epochs


def test_the_order_is_a_function_of_the_seed_and_the_pass():
    def orders(seed, x, y=None, size=None):
        cut = Epochs(open_source(reader(), x, y, None, size), None, random.Stream(seed), "fit")
        return [torch.cat([batch.y for batch in cut.batches(CPU)]).tolist() for _ in range(3)]

    y = np.arange(11)
    for make in (lambda: (X, y, 4), lambda: (Samples(X, y), None, 4), lambda: (Batches(X, y), None, None)):
        first, again, other = orders(1, *make()), orders(1, *make()), orders(2, *make())
        assert first == again != other
        assert all(sorted(each) == y.tolist() for each in first)
        assert len({tuple(each) for each in first}) == 3


def test_batches_end_with_a_word_to_the_sequence():
    batches = Batches(X, Y)
    classifier().fit(batches, epochs=3, verbose=0)
    assert batches.ended == 3


def test_nests_from_loaders():
    x, y = inputs_and_targets()
    samples = Samples(
        [{k: v[i] for k, v in x.items()} for i in range(10)], [[y[0][i], y[1]["second"][i]] for i in range(10)]
    )
    ours, other = same_weights(tail_and_head(), tail_and_head())
    for model in (ours, other):
        model.compile("sgd", [crossentropy(), "mse"])
    right = ours.fit(x, y, batch_size=5, shuffle=False, verbose=0)
    mine = other.fit(DataLoader(samples, batch_size=5), verbose=0)
    assert mine.history["loss"] == pytest.approx(right.history["loss"], rel=1e-5)


def test_workers_of_a_loader():
    loader = DataLoader(Samples(X, Y), batch_size=4, num_workers=1)
    assert len(classifier().fit(loader, verbose=0).history["loss"]) == 1


def test_what_is_unpacked():
    assert (
        unpack(1, "x") == (1, None, None)
        and unpack([1, 2], "x") == (1, 2, None)
        and unpack((1, 2, 3), "x") == (1, 2, 3)
    )
    with pytest.raises(ValueError, match=r"expected batches of x, \(x,\), .* got 4 parts"):
        unpack((1, 2, 3, 4), "x")


REFUSED = {
    "y beside a loader": (lambda m: m.fit(DataLoader(Samples(X, Y)), Y), ValueError, "x is a DataLoader.*y cannot go"),
    "weights beside a sequence": (
        lambda m: m.fit(Batches(X, Y), sample_weight=WEIGHTS),
        ValueError,
        "sample_weight cannot go beside it",
    ),
    "batch_size beside a loader": (
        lambda m: m.fit(DataLoader(Samples(X, Y)), batch_size=4),
        ValueError,
        "batches are made already; batch_size cannot go beside it",
    ),
    "no data at all": (lambda m: m.fit(7), TypeError, "x must be arrays or tensors.*got int"),
    "a split of a loader": (
        lambda m: m.fit(DataLoader(Samples(X, Y)), validation_split=0.2),
        ValueError,
        "validation_split takes the last part of arrays, and x is a DataLoader",
    ),
    "a split of everything": (
        lambda m: m.fit(X, Y, validation_split=1.0),
        ValueError,
        "share between 0 and 1, got 1.0",
    ),
    "a split that leaves nothing": (
        lambda m: m.fit(X[:2], Y[:2], validation_split=0.9),
        ValueError,
        "leaves 0 to train with and 2 to validate with",
    ),
    "validation steps of nothing": (lambda m: m.fit(X, Y, validation_steps=2), ValueError, "no validation_data that"),
    "steps of 0": (lambda m: m.fit(X, Y, steps_per_epoch=0), ValueError, "steps_per_epoch must be a positive"),
    "a negative first epoch": (lambda m: m.fit(X, Y, initial_epoch=-1), ValueError, "initial_epoch must be a whole"),
    "a frequency of 0": (
        lambda m: m.fit(X, Y, validation_data=(X, Y), validation_freq=0),
        ValueError,
        "validation_freq must be a positive",
    ),
    "a frequency in words": (
        lambda m: m.fit(X, Y, validation_data=(X, Y), validation_freq="often"),
        ValueError,
        "validation_freq must be a number of epochs or a list",
    ),
    "shuffle in words": (
        lambda m: m.fit(X, Y, shuffle="batch"),
        ValueError,
        "shuffle must be True or False, got 'batch'",
    ),
    "four tensors": (
        lambda m: m.fit(TensorDataset(*[torch.as_tensor(X)] * 4)),
        ValueError,
        r"expected batches of x, .* got 4 parts",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, kind, text = REFUSED[name]
    model = classifier()
    before = model.get_weights()
    with pytest.raises(kind, match=text):
        call(model)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def stateful(batch_size=None):
    model = ostinato.Sequential([layers.LSTM(3, stateful=True, name="memory"), layers.Dense(4)])
    model.compile("sgd", crossentropy())
    return model


RAGGED = {
    "arrays": lambda m: m.fit(X, Y, batch_size=4, verbose=0),
    "loader": lambda m: m.fit(DataLoader(Samples(X, Y), batch_size=4), verbose=0),
    "dataset": lambda m: m.fit(Samples(X, Y), batch_size=4, verbose=0),
    "validation": lambda m: m.fit(X[:8], Y[:8], batch_size=4, validation_data=(X, Y), verbose=0),
    "validation in other batches": lambda m: m.fit(
        X[:8], Y[:8], batch_size=4, validation_data=(X[:4], Y[:4]), validation_batch_size=2, verbose=0
    ),
    "split": lambda m: m.fit(X[:10], Y[:10], batch_size=4, validation_split=0.2, verbose=0),
    "evaluate": lambda m: m.evaluate(X, Y, batch_size=4, verbose=0),
    "predict": lambda m: m.predict(X, batch_size=4, verbose=0),
}


@pytest.mark.parametrize("name", RAGGED)
def test_a_stateful_model_takes_batches_of_one_size(name):
    model = stateful()
    with pytest.raises(ValueError, match="LSTM 'memory' is stateful, so all batches must have the same size"):
        RAGGED[name](model)
    assert not model.layers[0].built  # nothing was computed


def test_a_stateful_model_takes_whole_batches():
    model = stateful()
    model.fit(X[:8], Y[:8], batch_size=4, validation_data=(X[:4], Y[:4]), epochs=2, verbose=0)
    model.fit(DataLoader(Samples(X, Y), batch_size=4, drop_last=True), verbose=0)
    assert model.layers[0].states[0].shape == (4, 3)
    model.reset_states()
    assert len(model.predict(X, batch_size=11, verbose=0)) == 11


CLASSES = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2])


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (CLASSES, [2, 1, 0.5, 1] * 2 + [2, 1, 0.5]),
        (CLASSES[:, None], [2, 1, 0.5, 1] * 2 + [2, 1, 0.5]),
        (CLASSES.astype("float32"), [2, 1, 0.5, 1] * 2 + [2, 1, 0.5]),
        (np.eye(4)[CLASSES], [2, 1, 0.5, 1] * 2 + [2, 1, 0.5]),
        (np.stack([CLASSES, CLASSES], 1)[..., None], [[2, 2], [1, 1], [0.5, 0.5], [1, 1]]),
    ],
    ids=["numbers", "column", "floats", "one-hot", "steps"],
)
def test_weights_by_class(y, expected):
    found = reader({0: 2.0, 2: 0.5, 7: 9.0}).weigh(torch.as_tensor(y), None)
    assert found.dtype is torch.float32
    assert found[: len(expected)].tolist() == expected


def test_class_weights_are_sample_weights():
    weights = {0: 0.3, 1: 2.0, 3: 1.5}
    of_samples = np.array([weights.get(int(label), 1.0) for label in Y], dtype=np.float32)
    models = same_weights(*(classifier() for _ in range(3)))
    histories = [
        models[0].fit(X, Y, sample_weight=of_samples, batch_size=4, shuffle=False, verbose=0),
        models[1].fit(X, Y, class_weight=weights, batch_size=4, shuffle=False, verbose=0),
        models[2].fit(DataLoader(Samples(X, Y), batch_size=4), class_weight=weights, verbose=0),
    ]
    for other in histories[1:]:
        assert other.history["loss"] == pytest.approx(histories[0].history["loss"])
    one = models[0].train_on_batch(X, Y, sample_weight=of_samples)
    assert models[1].train_on_batch(X, Y, class_weight=weights) == pytest.approx(one)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ([1.0, 2.0], TypeError, "class_weight must be a dict from class to weight, got list"),
        ({"a": 1.0}, ValueError, "class_weight names the class 'a'; classes are whole numbers"),
        ({0: "many"}, ValueError, "gives class 0 the weight 'many'; expected a number"),
    ],
)
def test_class_weights_that_are_none(given, kind, text):
    with pytest.raises(kind, match=text):
        classifier().fit(X, Y, class_weight=given, verbose=0)


def test_class_weights_go_with_one_target_and_no_sample_weights():
    with pytest.raises(ValueError, match="pass class_weight or sample_weight, not both"):
        classifier().fit(X, Y, class_weight={0: 2.0}, sample_weight=WEIGHTS, verbose=0)
    model, (x, y) = tail_and_head(), inputs_and_targets()
    model.compile("sgd", [crossentropy(), "mse"])
    with pytest.raises(ValueError, match="class_weight goes with a single y, got several"):
        model.fit(x, y, class_weight={0: 2.0}, verbose=0)
