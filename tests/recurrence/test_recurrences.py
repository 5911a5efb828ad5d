"""What a recurrence is: its fields, options and facts; nests as inputs, states and outputs; readout; stacks."""

import dataclasses

import pytest
import torch

from ostinato.engines.execute import execute
from ostinato.engines.flat import leaves, results
from ostinato.recurrence import GRU, LSTM, Problem, Recurrence, SimpleRNN, Stack, scan
from ostinato.recurrence.activations import KNOWN, activation_name
from ostinato.recurrence.base import STATIC
from problems import CELLS, close, cotangents, equal, problem, value_and_gradients, wanting

# -- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_tensors_are_the_tensor_fields_in_order(cell):
    recurrence = problem(cell, dropout="shared").recurrence
    tensors = recurrence.tensors()
    names = ("kernel", "recurrent_kernel", "bias", "dropout", "recurrent_dropout")
    assert len(tensors) == 5
    assert all(tensor is getattr(recurrence, name) for tensor, name in zip(tensors, names, strict=True))
    assert tensors[4] is None


@pytest.mark.parametrize("cell", CELLS)
def test_replace_takes_other_tensors_and_keeps_the_options(cell):
    recurrence = problem(cell, activation="relu", bias=False).recurrence
    others = [None if tensor is None else torch.zeros_like(tensor) for tensor in recurrence.tensors()]
    replaced = recurrence.replace(others)
    assert type(replaced) is type(recurrence)
    assert all(a is b for a, b in zip(replaced.tensors(), others, strict=True))
    assert replaced.options() == recurrence.options()
    assert recurrence.kernel is not others[0]  # the old one is as it was
    with pytest.raises(ValueError, match=r"zip\(\) argument 2"):
        recurrence.replace(others[:-1])


def test_options_hash_and_tell_what_an_engine_may_decide_on():
    plain = problem("gru").recurrence
    same = problem("gru", seed=5, batch=9, features=7, units=11).recurrence
    assert plain.options() == same.options()
    assert hash(plain.options()) == hash(same.options())
    different = [
        problem("gru", bias=False),
        problem("gru", activation="relu"),
        problem("gru", recurrent_activation="hard_sigmoid"),
        problem("gru", dropout="shared"),
        problem("gru", dropout="gates"),
        problem("gru", recurrent_dropout=True),
        problem("gru_v1"),
    ]
    assert len({plain.options(), *(each.recurrence.options() for each in different)}) == 8


def test_facts_are_the_options_by_name():
    gru = problem("gru", dropout="gates", activation="relu").recurrence
    assert GRU.facts(gru.options()) == {
        "activation": "relu",
        "recurrent_activation": "sigmoid",
        "reset_after": True,
        "bias": 2,
        "dropout": 3,
        "recurrent_dropout": None,
    }
    own = dataclasses.replace(problem("simple_rnn", bias=False).recurrence, activation=torch.sin)
    assert SimpleRNN.facts(own.options()) == {
        "activation": "custom",
        "bias": None,
        "dropout": None,
        "recurrent_dropout": None,
    }


def test_activations_go_by_the_names_that_engines_know():
    assert {name: activation_name(function) for name, function in KNOWN.items()} == {name: name for name in KNOWN}
    assert activation_name(torch.sin) == "custom"
    x = torch.linspace(-5, 5, 23, dtype=torch.float64, requires_grad=True)
    y = KNOWN["hard_sigmoid"](x)
    close([y], [(x.detach() / 6 + 0.5).clip(0, 1)], atol=1e-15)
    (slope,) = torch.autograd.grad(y.sum(), x)
    close([slope], [(x.detach().abs() < 3) / torch.tensor(6.0, dtype=torch.float64)], atol=1e-16)


def test_a_recurrence_must_say_what_a_step_is():
    with pytest.raises(TypeError, match=r"abstract method '?step"):
        Recurrence()


def test_a_recurrence_of_one_field_has_tuples_too():
    @dataclasses.dataclass(eq=False)
    class Decay(Recurrence):
        rate: torch.Tensor

        def step(self, x, state):
            (h,) = state
            return (h := self.rate * h + x), (h,)

    decay = Decay(torch.tensor([0.5]))
    assert decay.tensors() == (decay.rate,)
    assert decay.options() == ()
    found = scan(Problem(decay, torch.ones(3, 1, 1), (torch.zeros(1, 1),)))
    assert found.outputs.flatten().tolist() == [1.0, 1.5, 1.75]


# -- nests, projections and readouts of one's own ---------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Mixer(Recurrence):
    """Two inputs in a dict, two states in a dict and a tuple, two outputs in a list; all of different ranks."""

    matrix: torch.Tensor  # (features, units)
    offset: torch.Tensor  # (units,)
    gain: float = dataclasses.field(default=2.0, metadata=STATIC)

    def project(self, xs):
        return {"vector": xs["vector"] @ self.matrix, "image": xs["image"] * self.gain}

    def step(self, x, state):
        total, (image,) = state["total"], state["images"]
        total = torch.tanh(total + x["vector"])
        image = 0.5 * image + x["image"] * total.mean(-1)[:, None, None]
        return [total, image], {"total": total, "images": (image,)}

    def readout(self, ys):
        return [ys[0] + self.offset, ys[1].square() + 1]


def mixer_problem(**fields):
    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    return Problem(
        Mixer(normal(2, 3), normal(3)),
        {"vector": normal(4, 2, 2), "image": normal(4, 2, 2, 2)},
        {"total": normal(2, 3), "images": (normal(2, 2, 2),)},
        **fields,
    )


def mixer_by_hand(problem, mask=None):
    """[outputs[0], outputs[1], last[0], last[1], images, total] of the mixer, one sample and one step at a time."""
    mixer, (time, batch) = problem.recurrence, problem.inputs["vector"].shape[:2]
    order = list(reversed(range(time))) if problem.reverse else list(range(time))
    vectors, images = torch.zeros(time, batch, 3).double(), torch.zeros(time, batch, 2, 2).double()
    totals, finals = [], []
    for row in range(batch):
        total, image = problem.state["total"][row], problem.state["images"][0][row]
        outputs = torch.zeros(3).double(), torch.zeros(2, 2).double()
        for position, t in enumerate(order):
            if mask is None or mask[t, row]:
                total = torch.tanh(total + problem.inputs["vector"][t, row] @ mixer.matrix)
                image = 0.5 * image + 2 * problem.inputs["image"][t, row] * total.mean()
                outputs = total + mixer.offset, image**2 + 1
            vectors[position, row], images[position, row] = (each.detach() for each in outputs)
        totals.append(total)
        finals.append(image)
    return [vectors, images, vectors[-1], images[-1], torch.stack(finals), torch.stack(totals)]


MIXER_MASK = torch.tensor([[False, False], [True, False], [False, False], [True, False]])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [None, MIXER_MASK], ids=["no mask", "a gap and a row of nothing"])
def test_nests_as_inputs_states_and_outputs(mask, reverse):
    asked = mixer_problem(mask=mask, reverse=reverse)
    by_step, compacted = scan(asked), execute([asked])[0]
    for found in (by_step, compacted):
        assert isinstance(found.outputs, list)
        assert isinstance(found.last, list)
        assert list(found.state) == ["total", "images"]
        assert isinstance(found.state["images"], tuple)
        close(results(found), mixer_by_hand(asked, mask), atol=1e-14)
    grads = cotangents(by_step)
    wanted = torch.autograd.grad(results(by_step), wanting(asked), grads)
    close(torch.autograd.grad(results(compacted), wanting(asked), grads), wanted, atol=1e-13)


def test_zeros_before_the_first_used_step_are_zeros_after_a_readout_too():
    # The readout makes ones of zeros; the rule is about what comes out.
    asked = mixer_problem(mask=MIXER_MASK)
    for found in (scan(asked), execute([asked])[0]):
        assert found.outputs[1][0].abs().max() == 0
        assert found.last[1][1].abs().max() == 0
        assert found.last[1][0].abs().min() >= 1


def test_no_steps_of_nests():
    asked = mixer_problem()
    asked.inputs = {key: leaf[:0] for key, leaf in asked.inputs.items()}
    found = execute([asked])[0]
    assert [y.shape for y in found.outputs] == [(0, 2, 3), (0, 2, 2, 2)]
    equal(found.last, [torch.zeros(2, 3).double(), torch.zeros(2, 2, 2).double()])
    equal([found.state["total"]], [asked.state["total"]])


def test_the_last_output_alone_of_nests():
    asked = mixer_problem(sequences=False)
    found = scan(asked)
    assert found.outputs is None
    close(results(found), mixer_by_hand(asked)[2:], atol=1e-14)


# -- stacks -----------------------------------------------------------------------------------------------------------


def stack_problem(**fields):
    """An LSTM over a stack of a GRU and a SimpleRNN: states of every form."""
    low = problem("lstm", features=2, units=3, dropout="shared", recurrent_dropout=True, requires_grad=True)
    middle = problem("gru_v1", features=3, units=2, requires_grad=True, seed=1)
    top = problem("simple_rnn", features=2, units=4, requires_grad=True, seed=2)
    return Problem(
        Stack([low.recurrence, Stack([middle.recurrence, top.recurrence])]),
        low.inputs,
        (low.state, (middle.state, top.state)),
        **fields,
    )


GAPS = torch.tensor([[False, True, False], [True, True, False], [False, True, False], [True, False, False], [True] * 3])


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [None, GAPS], ids=["no mask", "mask"])
def test_a_stack_run_cell_by_cell_is_its_step(mask, reverse, sequences):
    asked = stack_problem(mask=mask, reverse=reverse, sequences=sequences)
    values, gradients = value_and_gradients(asked, scan)  # `Stack.step`
    found_values, found_gradients = value_and_gradients(asked, lambda each: execute([each])[0])
    close(found_values, values, atol=1e-14)
    close(found_gradients, gradients, atol=1e-13)
    found = execute([asked])[0]
    assert (found.outputs is None) is not sequences
    assert [len(entry) for entry in found.state] == [2, 2]
    assert [len(entry) for entry in found.state[1]] == [1, 1]


def test_a_stack_of_recurrences_with_projections_and_readouts():
    mixer = mixer_problem()

    @dataclasses.dataclass(eq=False)
    class First(Mixer):
        def readout(self, ys):
            return super().readout(ys)[0]

    first = First(*mixer.recurrence.tensors())
    top = problem("lstm", batch=2, features=3, units=2, requires_grad=True)
    asked = Problem(Stack([first, top.recurrence]), mixer.inputs, (mixer.state, top.state))
    asked.mask = torch.tensor([[True, False], [False, False], [True, True], [True, False]])
    values, gradients = value_and_gradients(asked, scan)
    found_values, found_gradients = value_and_gradients(asked, lambda each: execute([each])[0])
    close(found_values, values, atol=1e-13)
    close(found_gradients, gradients, atol=1e-12)


def test_a_stack_over_no_steps():
    asked = stack_problem()
    asked.inputs = asked.inputs[:0]
    found = execute([asked])[0]
    assert found.outputs.shape == (0, 3, 4)
    equal(results(found)[2:], leaves(asked)[1:5])
    equal([found.last], [torch.zeros(3, 4).double()])


def test_a_stack_is_a_recurrence_over_all_its_tensors():
    stack = stack_problem().recurrence
    assert len(stack.tensors()) == 15
    doubled = stack.replace([None if t is None else 2 * t for t in stack.tensors()])
    assert isinstance(doubled.recurrences[1], Stack)
    equal([doubled.recurrences[1].recurrences[0].kernel], [2 * stack.recurrences[1].recurrences[0].kernel])
    assert doubled.options() == stack.options()
    assert hash(doubled.options()) == hash(stack.options())
    facts = Stack.facts(stack.options())
    assert facts["0"] == ("lstm", LSTM.facts(stack.recurrences[0].options()))
    assert facts["1"][1]["0"][1]["reset_after"] is False


def test_a_stack_wants_a_state_for_each():
    asked = stack_problem()
    asked.state = asked.state[:1]
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        execute([asked])
