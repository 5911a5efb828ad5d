"""What a table and a picture of a model are made of."""

import torch

from ostinato import Input, Model, Sequential, layers
from ostinato.core import diagram


def connected(model) -> dict[str, list[str]]:
    """What each row is called on, in order."""
    return {
        diagram.name_of(row.module): [
            f"{diagram.name_of(symbol.node.call)}[{diagram.index_of(symbol)}]"
            for call in row.calls
            for symbol in call.inputs
        ]
        for row in diagram.rows(model)
    }


def summary_of(model) -> str:
    lines = []
    model.summary(line_length=160, print_fn=lines.append)
    return "\n".join(lines)


def test_every_call_of_a_shared_layer_is_known():
    a, b = Input((3,), name="a"), Input((5, 3), name="b")
    shared = layers.Dense(2, name="shared")
    model = Model([a, b], [shared(a), shared(b)])
    assert connected(model) == {"a": [], "b": [], "shared": ["a[0]", "b[0]"]}
    row = next(row for row in diagram.rows(model) if row.module is shared)
    assert diagram.input_shape(row) == "(None, 3) or (None, 5, 3)"
    assert diagram.output_shape(row) == "(None, 2) or (None, 5, 2)"
    assert "a[0], b[0]" in summary_of(model)


def test_states_are_told_apart():
    x = Input((None, 3), name="x")
    _, h, c = layers.LSTM(2, return_state=True, name="first")(x)
    model = Model(x, layers.LSTM(2, name="second")(x, initial_state=[h, c]))
    assert connected(model)["second"] == ["x[0]", "first[1]", "first[2]"]
    first = next(row for row in diagram.rows(model) if diagram.name_of(row.module) == "first")
    assert diagram.output_shape(first) == "[(None, 2), (None, 2), (None, 2)]"
    assert diagram.output_dtype(first) == "float32"


def test_a_fork_is_no_chain():
    """Each layer has one input, and yet the table must say which."""
    x = Input((3,), name="x")
    model = Model(x, [layers.Dense(1, name="left")(x), layers.Dense(2, name="right")(x)])
    assert not diagram.is_chain(diagram.rows(model))
    assert "Connected to" in summary_of(model)


def test_chains():
    x = Input((3,), name="x")
    drawn = Model(x, torch.tanh(torch.nn.Linear(3, 2)(x)))
    built = Sequential([layers.Dense(2, input_shape=(3,)), layers.Dense(1)])
    raw = Sequential([layers.Dense(2)])
    assert all(diagram.is_chain(diagram.rows(model)) for model in (drawn, built, raw))
    assert connected(drawn) == {"x": [], "linear": ["x[0]"], "tanh": ["linear[0]"]}
    assert [diagram.output_dtype(row) for row in diagram.rows(drawn)] == ["any", "float32", "float32"]
    assert [diagram.input_shape(row) for row in diagram.rows(raw)] == ["?"]
