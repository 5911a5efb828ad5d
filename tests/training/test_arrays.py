"""Arrays and tensors become batches."""

import warnings

import numpy as np
import pytest
import torch

from ostinato.recurrence.nests import flatten
from ostinato.training.sources import arrays as arrays_module
from ostinato.training.sources.arrays import Arrays
from ostinato.training.sources.base import Reader

CPU = torch.device("cpu")


def arrays(x, y=None, batch_size=3, dtype=torch.float32):
    return Arrays.read(Reader(dtype, "fit"), x, y, None, batch_size)


def drawn():
    return torch.Generator().manual_seed(5)


def column(length=7, dtype="float32"):
    return np.arange(length).astype(dtype)[:, None]


@pytest.mark.parametrize("name", ["float16", "float32", "float64", ">f4", ">f8"])
def test_floating_numbers_get_the_models_dtype(name):
    values = np.array([[0.5], [1.25], [-3.0]]).astype(name)
    for dtype in (torch.float32, torch.float64):
        data = arrays(values, values[:, 0], dtype=dtype)
        assert data.x.dtype is data.y.dtype is dtype
        assert data.x.tolist() == [[0.5], [1.25], [-3.0]] and data.y.tolist() == [0.5, 1.25, -3.0]


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "int64", "uint8", ">i4"])
def test_whole_numbers_stay_whole(name):
    values = np.array([[0], [1], [100]], dtype=name)
    data = arrays(values, values)
    for found in (data.x, data.y):
        assert found.dtype is getattr(torch, np.dtype(name).newbyteorder("=").name)
        assert found.tolist() == [[0], [1], [100]]


@pytest.mark.parametrize("name", ["uint16", "uint32", "uint64"])
def test_wide_unsigned_numbers_become_int64(name):
    found = arrays(np.array([1, 2, 60000], dtype=name)).x
    assert found.dtype is torch.int64
    assert found.tolist() == [1, 2, 60000]


def test_booleans_stay_so():
    found = arrays(np.array([True, False])).x
    assert found.dtype is torch.bool
    assert found.tolist() == [True, False]


def test_torch_tensors_are_cast_at_the_edge():
    data = arrays(torch.tensor([[0.5], [1.5]], dtype=torch.float64), torch.tensor([3, 4]))
    assert data.x.dtype is torch.float32 and data.x.tolist() == [[0.5], [1.5]]
    assert data.y.dtype is torch.int64 and data.y.tolist() == [3, 4]
    assert arrays(torch.tensor([[0.5]]).half()).x.dtype is torch.float32


def test_targets_of_a_model_in_half_precision_keep_their_digits():
    data = arrays(np.array([[257.0]]), np.array([257.0]), dtype=torch.bfloat16)
    assert data.x.item() == 256.0  # bfloat16 has no 257
    assert data.y.dtype is torch.float32 and data.y.item() == 257.0


def test_float32_is_not_copied():
    values = column()
    tensor = torch.ones(4, 2)
    assert arrays(values).x.data_ptr() == values.ctypes.data
    assert arrays(tensor).x.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[::2], lambda a: a.T, lambda a: a.transpose(1, 0)[::-1]],
)
def test_views_of_arrays(view):
    values = view(np.arange(12.0, dtype=np.float32).reshape(4, 3))
    assert arrays(values).x.tolist() == values.tolist()


def test_read_only_arrays_are_left_alone():
    values = column()
    values.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = arrays(values).x
    found.zero_()
    assert values[-1, 0] == 6


def test_the_last_batch_is_what_is_left():
    data = arrays(column(), np.arange(7))
    batches = list(data.batches(CPU))
    assert data.steps == len(batches) == 3
    assert [samples for *_, samples in batches] == [3, 3, 1]
    assert [x[:, 0].tolist() for x, *_ in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [y.tolist() for _, y, *_ in batches] == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_in_an_order():
    data = arrays(column(), {"a": np.arange(7), "b": np.arange(7) * 10})
    order = torch.randperm(7, generator=drawn())
    batches = list(data.batches(CPU, drawn()))
    assert torch.cat([x[:, 0] for x, *_ in batches]).tolist() == order.tolist()
    assert torch.cat([y["a"] for _, y, *_ in batches]).tolist() == order.tolist()
    assert torch.cat([y["b"] for _, y, *_ in batches]).tolist() == (10 * order).tolist()


@pytest.mark.parametrize("gathered", [1, 13, 3 * 12, 3 * 12 + 1, 6 * 12, 7 * 12, 1000])
@pytest.mark.parametrize("ordered", [False, True])
def test_batches_do_not_depend_on_how_many_are_gathered_at_a_time(monkeypatch, gathered, ordered):
    """A sample has 12 bytes, a batch of 3 has 36."""
    monkeypatch.setattr(arrays_module, "_GATHERED", gathered)
    data = arrays(column(), np.arange(7))
    order = torch.randperm(7, generator=drawn())
    batches = list(data.batches(CPU, drawn() if ordered else None))
    expected = order if ordered else torch.arange(7)
    assert [x[:, 0].tolist() for x, *_ in batches] == [each.tolist() for each in expected.split(3)]
    assert [y.tolist() for _, y, *_ in batches] == [each.tolist() for each in expected.split(3)]
    assert [samples for *_, samples in batches] == [3, 3, 1]


def test_batches_of_something_without_numbers():
    assert [x.shape for x, *_ in arrays(np.zeros((7, 0), "float32")).batches(CPU)] == [(3, 0), (3, 0), (1, 0)]


def test_no_gradient_flows_into_the_data():
    tensor = torch.ones(7, 2, requires_grad=True)
    data = arrays(tensor)
    assert not any(x.requires_grad for x, *_ in data.batches(CPU, drawn()))


@pytest.mark.parametrize("batch_size", [7, 8, 1000, np.int64(100)])
def test_a_batch_larger_than_the_data(batch_size):
    data = arrays(column(), batch_size=batch_size)
    ((x, y, _, samples),) = data.batches(CPU)
    assert (data.steps, samples, y) == (1, 7, None)
    assert x.tolist() == column().tolist()


def test_32_is_the_batch_size_of_those_who_do_not_say():
    assert arrays(column(70), batch_size=None).batch_size == 32
    assert arrays(column(70), batch_size=None).steps == 3


def test_nests_keep_their_structure():
    x = {"b": [column(), (column() + 1,)], "a": torch.from_numpy(column() + 2)}
    (first, y, *_), *_ = arrays(x, (column(), [column()])).batches(CPU)
    assert list(first) == ["b", "a"]
    assert isinstance(first["b"], list) and isinstance(first["b"][1], tuple)
    assert [leaf[0].item() for leaf in (first["b"][0], first["b"][1][0], first["a"])] == [0, 1, 2]
    assert isinstance(y, tuple) and isinstance(y[1], list)
    assert [leaf.shape for leaf in flatten(y)] == [(3, 1), (3, 1)]


def test_lists_of_numbers_are_arrays():
    data = arrays([[1, 2.5], [3, 4]], [0, 1])
    assert data.x.dtype is torch.float32 and data.x.tolist() == [[1, 2.5], [3, 4]]
    assert data.y.dtype is torch.int64 and data.y.tolist() == [0, 1]
    assert arrays([np.float64(0.5), np.float64(1)]).x.tolist() == [0.5, 1.0]


class Frame:
    """What pandas and others are: it can become an array."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0], [2.0]], dtype=dtype)


def test_what_can_become_an_array():
    assert arrays(Frame()).x.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("x", "y", "kind", "text"),
    [
        (None, None, ValueError, "fit: x is missing"),
        ([], None, ValueError, "fit: x is empty"),
        ({}, column(), ValueError, "fit: x is empty"),
        (column(), [], ValueError, "fit: y is empty"),
        (column(0), None, ValueError, "fit: the arrays are empty"),
        (column(7), column(6), ValueError, r"same length, got \[7, 6\]"),
        ([column(7), column(6)], None, ValueError, r"same length, got \[7, 6\]"),
        (np.float32(3), None, ValueError, "x: expected arrays with a batch, got a single number"),
        (torch.tensor(3.0), None, ValueError, "x: expected arrays with a batch, got a single number"),
        ("abc", None, TypeError, "fit: x: expected arrays or tensors, got str"),
        (3, None, TypeError, "fit: x: expected arrays or tensors, got int"),
        (column(), np.array(["a"] * 7), TypeError, "fit: y: expected numbers, got an array of dtype <U1"),
        (np.array([None, 1]), None, TypeError, "fit: x: expected numbers, got an array of dtype object"),
        (
            [[1.0, 2.0], [3.0]],
            None,
            ValueError,
            "x: the rows of a list of numbers must be of the same length; .*pad_seq",
        ),
        (
            ["a b", "c"],
            None,
            TypeError,
            r"fit: x: expected arrays or tensors, got str\..*TextVectorization, called on it",
        ),
        (np.array(["a b", "c"]), None, TypeError, r"fit: x: .*dtype <U3\..*TextVectorization, called on it"),
        (np.array(["a b", "c"], object), None, TypeError, r"fit: x: .*dtype object\..*TextVectorization, called on it"),
        (np.array([[1, 2], [3]], object), None, TypeError, r"fit: x: .*dtype object\..*pad_sequences"),
    ],
)
def test_what_is_refused(x, y, kind, text):
    with pytest.raises(kind, match=text):
        arrays(x, y)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "32", True])
def test_a_batch_size_that_is_none(batch_size):
    with pytest.raises(ValueError, match=rf"batch_size must be a positive whole number, got {batch_size!r}"):
        arrays(column(), batch_size=batch_size)
