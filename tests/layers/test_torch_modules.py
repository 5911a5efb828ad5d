"""Recurrent layers among torch's tools for modules: hooks, checkpoints, saved and meta tensors, threads, memory."""

import contextlib
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import ostinato
from cells import Minimal
from ostinato import Sequential, layers
from ostinato.recurrence.nests import flatten
from recurrent import LAYERS, MAKE, MODELS, assert_close, gradients, inputs, made, mask_for, total

every = pytest.mark.parametrize("what", MAKE)


def flat(what):
    """A layer whose outputs are a tensor, or a tuple of tensors: what hangs in a list, torch does not see."""
    layer = made(what)
    if what == "stacked":
        layer.return_state = False
    return layer


# == Hooks ============================================================================================================


@contextlib.contextmanager
def hooked(module, notes, name=""):
    """Note what each hook of a module is told: outside of it, outputs; and gradients at its outputs and inputs."""
    handles = [
        module.register_forward_pre_hook(lambda m, args: notes.append((name, "before", args))),
        module.register_forward_hook(lambda m, args, out: notes.append((name, "after", out))),
        module.register_full_backward_pre_hook(lambda m, grads: notes.append((name, "back", grads))),
        module.register_full_backward_hook(lambda m, into, out: notes.append((name, "out", into))),
    ]
    yield
    for handle in handles:
        handle.remove()


def run(layer, x, **kwargs):
    """Outputs with their gradients, the input's gradient, and those of the parameters."""
    x = x.detach().clone().requires_grad_()
    outputs = layer(x, **kwargs)
    leaves = flatten(outputs)
    for leaf in leaves:
        leaf.retain_grad()
    total(outputs).backward()
    found = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    return outputs, [leaf.grad for leaf in leaves], x.grad, found


@every
def test_hooks_fire_once_each_and_are_told_the_values(what):
    layer, x, notes = flat(what), inputs(what), []
    outputs, at_outputs, at_input, slopes = run(layer, x)
    with hooked(layer, notes):
        again = run(layer, x)
    assert [when for _, when, _ in notes] == ["before", "after", "back", "out"]
    assert_close(list(notes[0][2]), [x])
    assert_close(notes[1][2], outputs, atol=0)
    assert_close(list(notes[2][2]), at_outputs)
    assert_close(list(notes[3][2]), [at_input])
    assert_close([*again[3], again[2]], [*slopes, at_input], atol=1e-12)
    assert isinstance(notes[1][2], tuple) is isinstance(outputs, tuple)


@every
def test_hooks_may_replace_inputs_outputs_and_gradients(what):
    layer, x = made(what), inputs(what)
    outputs, _, at_input, _ = run(layer, 2 * x)
    half = layer.register_forward_pre_hook(lambda m, args: (2 * args[0],))
    assert_close(layer(x), outputs)
    turned = layer.register_full_backward_hook(lambda m, into, out: tuple(-3 * g for g in into))
    assert_close(run(layer, x)[2], -6 * at_input)  # torch's hook stands between the two
    half.remove()
    turned.remove()
    other = layer.register_forward_hook(lambda m, args, kwargs, out: torch.zeros(3), with_kwargs=True)
    assert layer(x).shape == (3,)
    other.remove()
    assert_close(layer(2 * x), outputs)


def test_hooks_see_arguments_by_name():
    layer, x, seen = made("GRU"), inputs("GRU"), []
    layer.register_forward_pre_hook(lambda m, args, kwargs: seen.append(sorted(kwargs)), with_kwargs=True)
    layer(x, mask=mask_for(), training=True)
    assert seen == [["mask", "training"]]


@pytest.mark.parametrize("what", MODELS)
def test_hooks_on_the_layers_of_a_model_leave_masks_alone(what):
    model, x, notes = made(what), inputs(what), []
    wanted = run(model, x)
    with contextlib.ExitStack() as stack:
        for layer in model.layers:
            stack.enter_context(hooked(layer, notes, layer.name))
        found = run(model, x)
    assert_close([found[0], *found[2:]], [wanted[0], *wanted[2:]], atol=1e-12)
    names = [layer.name for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    assert [name for name, when, _ in notes if when == "after"] == names
    assert [name for name, when, _ in notes if when == "out"] == names[::-1]


def test_hooks_on_a_cell_of_ones_own_fire_at_each_step():
    cell, notes = Minimal(3, dtype="float64"), []
    layer = layers.RNN(cell, return_sequences=True)
    x = inputs("LSTM", time=4)
    layer(x)
    with hooked(cell, notes):
        outputs, *_ = run(layer, x)
    told = [told for _, when, told in notes if when == "after"]
    assert_close(torch.stack([output for output, _ in told], 1), outputs)
    assert_close(torch.stack([args[0] for _, when, args in notes if when == "before"], 1), x)
    assert [when for _, when, _ in notes].count("out") == 4


@pytest.mark.parametrize("what", ["LSTM", "stacked", "Bidirectional"])
def test_hooks_inside_a_layer_that_an_engine_runs_as_one_do_not_fire(what):
    layer, notes = made(what), []
    inside = [module for module in layer.modules() if module is not layer and not list(module.children())]
    with contextlib.ExitStack() as stack:
        for module in inside:
            stack.enter_context(hooked(module, notes))
        layer(inputs(what))
    assert inside and notes == []
    cell = inside[0]
    with hooked(cell, notes):  # they do where the cell is called
        states = [torch.zeros(2, 3).double() for _ in flatten(cell.state_size)]
        cell(inputs(what)[:, 0], states)
    assert [when for _, when, _ in notes] == ["before", "after"]


def test_hooks_on_weights_see_their_gradients():
    layer, x, seen = made("LSTM"), inputs("LSTM"), {}
    _, (_, *slopes) = gradients(layer, x)
    for name, weight in layer.named_parameters():
        weight.register_hook(lambda grad, name=name: seen.__setitem__(name, grad) or 2 * grad)
    doubled = gradients(layer, x)[1][1:]
    assert_close(list(seen.values()), slopes, atol=1e-12)
    assert_close(doubled, [2 * slope for slope in slopes])


# == Checkpoints and saved tensors ====================================================================================


@every
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(what, reentrant):
    layer, x = flat(what), inputs(what)
    outputs, _, at_input, slopes = run(layer, x)
    twin = x.clone().requires_grad_()
    found = checkpoint(layer, twin, use_reentrant=reentrant)
    assert_close(found, outputs, atol=1e-12)
    total(found).backward()
    assert_close([twin.grad, *(p.grad for p in layer.parameters())], [at_input, *slopes], atol=1e-12)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("seed_all", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_draw_the_same_masks_again(reentrant, seed_all, seed):
    """Several in a row, the last of which is computed again first."""
    options = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": seed, "dtype": "float64", "return_sequences": True}
    model = Sequential(
        [layers.LSTM(4, **options), layers.Dropout(0.5), layers.GRU(4, **options), layers.GRU(4, **options)]
    )
    x = inputs("LSTM").requires_grad_()
    model.build(x.shape)

    def whole(x):
        return model(x, training=True)

    def in_parts(x):
        for layer in model.layers:
            x = checkpoint(lambda x, layer=layer: layer(x, training=True), x, use_reentrant=reentrant)
        return x

    found = []
    for function in (whole, in_parts):
        torch.manual_seed(3)
        if seed_all:
            ostinato.utils.set_random_seed(3)
        else:
            ostinato.random.DEFAULT.seed = None
        for layer in model.layers:
            stream = layer._stream if isinstance(layer, layers.Dropout) else layer.cell._stream
            if stream is not ostinato.random.DEFAULT:
                stream.counter = 0
        output = function(x)
        total(output).backward()
        found.append([output, *(p.grad for p in model.parameters())])
        model.zero_grad()
    if seed_all or seed is not None:  # seeds of torch's generator stand elsewhere in the sequence otherwise
        assert_close(found[1], found[0], atol=1e-12)
    assert all(slope.abs().max() > 0 for slope in found[1][1:])


def test_masks_that_cannot_be_drawn_again_are_told():
    layer, x = layers.LSTM(4, dropout=0.5, seed=1), torch.randn(2, 5, 4)
    layer.build(x.shape)
    output = checkpoint(lambda x: layer(x, training=True), x, use_reentrant=False, preserve_rng_state=False)
    torch.rand(1)
    with pytest.raises(RuntimeError, match="preserve_rng_state=True"):
        output.sum().backward()


def test_checkpoints_of_a_sequence_of_layers():
    modules = [layers.GRU(3, return_sequences=True, dtype="float64") for _ in range(4)]
    x = inputs("LSTM").requires_grad_()
    plain = torch.nn.Sequential(*modules)
    wanted = torch.autograd.grad(total(plain(x)), [*plain.parameters()])
    found = torch.autograd.grad(total(checkpoint_sequential(modules, 2, x, use_reentrant=False)), [*plain.parameters()])
    assert_close(list(found), list(wanted), atol=1e-12)


@every
def test_saved_tensors_may_be_kept_elsewhere(what):
    layer, x = made(what), inputs(what)
    wanted = gradients(layer, x)[1]
    packed = []
    elsewhere = saved_tensors_hooks(lambda t: packed.append(t.shape) or (t.dtype, t.clone()), lambda kept: kept[1])
    for hooks in (save_on_cpu(), elsewhere):
        with hooks:
            assert_close(gradients(layer, x)[1], wanted, atol=1e-12)
    assert packed


@every
def test_anomalies_are_found_where_they_are(what):
    layer, x = made(what), inputs(what)
    wanted = gradients(layer, x)[1]
    with pytest.warns(UserWarning, match="Anomaly Detection"), torch.autograd.detect_anomaly():
        assert_close(gradients(layer, x)[1], wanted, atol=1e-12)
        with torch.no_grad():
            next(layer.parameters()).fill_(torch.nan)
        with pytest.raises(RuntimeError, match="returned nan values"), pytest.warns(UserWarning, match="Traceback of"):
            gradients(layer, x)


# == Modes ============================================================================================================


@every
def test_modes_of_autograd(what):
    layer, x = made(what), inputs(what)
    wanted = [leaf.detach() for leaf in flatten(layer(x))]
    assert all(leaf.requires_grad for leaf in flatten(layer(x)))
    for mode in (torch.no_grad(), torch.set_grad_enabled(False), torch.inference_mode()):
        with mode:
            found = flatten(layer(x))
            with torch.enable_grad():  # which inference mode is stronger than
                assert flatten(layer(x))[0].requires_grad is not torch.is_inference_mode_enabled()
        assert not any(leaf.requires_grad for leaf in found)
        assert_close(found, wanted, atol=1e-12)
    assert flatten(layer(x))[0].requires_grad
    with torch.inference_mode():
        made_there = x.clone()
    with torch.no_grad():
        assert_close(layer(made_there), wanted if len(wanted) > 1 else wanted[0], atol=1e-12)


@every
def test_a_layer_that_is_built_in_inference_mode_trains(what):
    layer, x = MAKE[what](dtype="float64"), inputs(what)
    with torch.inference_mode():
        layer(x)
    total(layer(x)).backward()
    assert all(p.grad is not None and not p.is_inference() for p in layer.parameters())


# == Meta tensors =====================================================================================================


@every
def test_made_on_the_meta_device_and_filled_later(what):
    right, x = made(what), inputs(what)
    with torch.device("meta"):
        empty = MAKE[what](dtype="float64")
        outputs = flatten(empty(torch.empty(x.shape, dtype=x.dtype)))
    assert all(p.is_meta for p in empty.parameters()) and all(leaf.is_meta for leaf in outputs)
    assert [leaf.shape for leaf in outputs] == [leaf.shape for leaf in flatten(right(x))]
    empty.to_empty(device="cpu").load_state_dict(right.state_dict())
    assert_close(list(gradients(empty, x)), list(gradients(right, x)), atol=0)
    with torch.device("meta"):
        again = MAKE[what](dtype="float64")
        again.build(x.shape)
    again.load_state_dict(right.state_dict(), assign=True)
    assert_close(list(gradients(again, x)), list(gradients(right, x)), atol=0)


# == Threads ==========================================================================================================


def in_threads(function, count=4):
    """Results of `function(number)` in as many threads at once; what one raises is raised."""
    start = threading.Barrier(count)

    def work(number):
        start.wait()
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


@every
def test_threads_share_a_layer(what):
    layer = made(what)
    given = [inputs(what, seed=seed) for seed in range(4)]
    wanted = [gradients(layer, x) for x in given]

    def work(number):
        return [gradients(layer, given[number]) for _ in range(5)]

    for found, right in zip(in_threads(work), wanted, strict=True):
        for each in found:
            assert_close(list(each), list(right), atol=1e-12)


def test_threads_have_modes_and_engines_of_their_own():
    layer, x = layers.LSTM(4, dropout=0.5, seed=1, dtype="float64"), inputs("LSTM")
    layer.build(x.shape)
    plain = layer(x, training=False).detach()

    def work(number):
        engine = "reference" if number % 2 else "auto"
        found = []
        with ostinato.use_engine(engine), torch.set_grad_enabled(number % 2 == 0):
            for _ in range(10):
                found.append(layer(x, training=number > 1))
        return found

    for number, found in enumerate(in_threads(work)):
        assert all(y.requires_grad is (number % 2 == 0) for y in found)
        assert all(torch.allclose(y, plain) is (number < 2) for y in found)


# == Memory ===========================================================================================================


def step(layer, x, optimizer):
    optimizer.zero_grad()
    total(layer(x)).backward()
    optimizer.step()


@every
def test_training_leaves_nothing_behind(what):
    """No object more after two hundred steps than before, with no help from the collector of cycles."""
    layer, x = made(what), inputs(what, time=2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-4)
    for _ in range(5):
        step(layer, x, optimizer)
    gc.collect()
    before = len(gc.get_objects())
    gc.disable()
    try:
        for _ in range(200):
            step(layer, x, optimizer)
        assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


class Mark:
    """What a graph is known by: its own nodes take no weak references."""


def marked(output):
    """A weak reference to something that hangs on the node that made an output."""
    mark = output.grad_fn.metadata["mark"] = Mark()
    return weakref.ref(mark)


@pytest.mark.parametrize("what", LAYERS)
@pytest.mark.parametrize("twice", [False, True])
def test_a_graph_dies_with_its_outputs(what, twice):
    layer, x = made(what), inputs(what).requires_grad_()
    gc.disable()
    try:
        outputs = flatten(layer(x))
        if twice:
            (slope,) = torch.autograd.grad(total(outputs), x, create_graph=True)
            torch.autograd.grad(slope.sum(), x, retain_graph=True)
            del slope
        mark = marked(outputs[0])
        assert mark() is not None
        del outputs
        assert mark() is None
    finally:
        gc.enable()


def test_a_stateful_layer_holds_no_graph():
    layer, x = layers.GRU(3, stateful=True), torch.randn(2, 5, 4)
    mark = marked(layer(x))
    gc.collect()
    assert mark() is None and layer.states[0].grad_fn is None
