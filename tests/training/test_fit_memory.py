"""A run keeps nothing alive, computes nothing twice, and loses no mask on the way."""

import gc
import weakref

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from runs import classifier, data


class Sentinel:
    """What lives as long as the node of a graph, or the tensor, that it is tied to."""


class Watched(layers.Layer):
    """Knows which of its outputs, or of their graphs, are still alive; adds a loss, which holds on to its graph."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, inputs):
        outputs = inputs * 2
        if outputs.device.type != "meta":
            sentinel = Sentinel()
            if outputs.grad_fn is None:
                outputs.sentinel = sentinel
            else:
                outputs.grad_fn.metadata["sentinel"] = sentinel
            self.seen.append(weakref.ref(sentinel))
        self.add_loss(outputs.square().mean())
        return outputs

    @property
    def alive(self):
        return [reference() is not None for reference in self.seen]


def test_the_watch_sees_a_graph_that_is_alive():
    watched = Watched()
    outputs = watched(torch.ones(2, requires_grad=True))
    loss = outputs.sum()
    del outputs
    assert watched.alive == [True]
    watched._added_losses = (0, [])
    del loss
    assert watched.alive == [False]


@pytest.mark.parametrize("what", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_no_graph_is_kept_alive(what):
    watched = Watched()
    model, (x, y) = classifier(watched), data()
    gc.collect()
    watched.seen.clear()
    gc.disable()  # nothing may need the collector
    try:
        options = {"batch_size": 5, "verbose": 0} if what in ("fit", "evaluate") else {}
        getattr(model, what)(x, y, **options)
        assert len(watched.seen) == (2 if options else 1)
        assert not any(watched.alive)
    finally:
        gc.enable()
    assert len(model.losses) == 1 and not model.losses[0].requires_grad  # and its value is still there


def test_a_batch_is_gone_before_the_next():
    alive = []

    class Looks(Watched):
        def call(self, inputs):
            alive.append(sum(self.alive))
            return super().call(inputs)

    looks = Looks()
    model, (x, y) = classifier(looks), data(20)
    looks.seen.clear()
    alive.clear()
    model.fit(x, y, batch_size=5, verbose=0)
    assert alive == [0, 1, 1, 1]  # at most the losses added in the last batch, until the next ones replace them


def test_data_is_not_copied_for_each_run():
    x, y = data()
    seen = []
    model = classifier(optimizer=ostinato.optimizers.SGD(0.0))
    model.layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].data_ptr()))
    model.fit(x, y, batch_size=5, shuffle=False, verbose=0)
    assert seen == [x.ctypes.data, x[5:].ctypes.data]


def counting():
    model = ostinato.Sequential([layers.BatchNormalization(momentum=0.5), layers.Dense(1)])
    model.compile(ostinato.optimizers.SGD(0.0), "mse")
    model.build((None, 1))
    return model


@pytest.mark.parametrize("where", ["the model", "a layer", "everywhere", "an open input"])
def test_hooks_do_not_make_a_model_run_twice(where):
    """The moving mean follows once for each batch."""
    model = counting()
    nothing = lambda *args: None  # noqa: E731
    kept = []
    if where == "the model":
        kept.append(model.register_forward_hook(nothing))
    elif where == "a layer":
        kept.append(model.layers[0].register_forward_pre_hook(nothing))
    elif where == "everywhere":
        kept.append(torch.nn.modules.module.register_module_forward_hook(nothing))
    else:
        kept.append(ostinato.Input((3,)))  # a model is being drawn elsewhere
    try:
        model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=2, verbose=0)
    finally:
        for each in kept:
            if hasattr(each, "remove"):
                each.remove()
    assert model.layers[0].moving_mean.item() == pytest.approx(0.75)  # 1 - 0.5 ** 2


def test_an_input_in_a_list_of_layers_leaves_no_hooks():
    gc.collect()
    symbol = ostinato.Input((3,))
    ostinato.Sequential([symbol, layers.Dense(1)])
    assert not torch.nn.modules.module._has_any_global_hook()


def masked_model(kind):
    if kind == "sequential":
        return ostinato.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3, return_sequences=True)])
    if kind == "drawn":
        x = ostinato.Input((None,), dtype="int64")
        return ostinato.Model(x, layers.LSTM(3, return_sequences=True)(layers.Embedding(9, 4, mask_zero=True)(x)))

    class Tagger(ostinato.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(9, 4, mask_zero=True)
            self.recurrent = layers.LSTM(3, return_sequences=True)

        def call(self, inputs):
            return self.recurrent(self.embedding(inputs))

    return Tagger()


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("kind", ["sequential", "drawn", "subclassed"])
def test_masks_reach_the_loss(kind, hooked):
    model = masked_model(kind)
    model.compile("sgd", "mse")
    x = np.array([[1, 2, 0], [3, 0, 0]])
    found = model.predict(x, verbose=0)
    used = (x != 0)[..., None]
    if hooked:
        model.register_forward_hook(lambda *args: None)
    expected = (np.square(found - 1).mean(-1, keepdims=True) * used).sum() / used.sum()
    assert model.evaluate(x, np.ones((2, 3, 3)), verbose=0) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, False, True], [True, True, False]])])
def test_asking_for_the_mask_of_a_model_changes_nothing(mask):
    """It means running the model, which is done in inference, and not at all where there is none to find."""
    model = ostinato.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.BatchNormalization(momentum=0.5)])
    x = torch.tensor([[1, 2, 0], [3, 0, 0]])
    model(x, training=False)
    model.train()
    before = model.layers[1].get_weights()
    assert torch.equal(model.compute_mask(x, mask), x != 0)
    for was, now in zip(before, model.layers[1].get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    plain = ostinato.Sequential([torch.nn.Identity()])
    plain.layers[0].register_forward_hook(lambda *args: pytest.fail("it ran"))
    assert plain.compute_mask(torch.zeros(2, 3)) is None
