"""Training and inference modes: chosen for a run, put back after it, whatever happens."""

import copy

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers, random
from runs import classifier, data, modes


class Spy(torch.nn.Module):
    """Notes the mode it runs in, its own and that of a dropout inside it."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)
        self.seen = []

    def forward(self, x):
        dropped = bool((self.dropout(torch.ones(1000)) == 0).any())
        assert dropped == self.training == self.dropout.training
        self.seen.append(self.training)
        return x


def test_plain_modules_train_in_fit_and_infer_elsewhere():
    spy = Spy()
    model, (x, y) = classifier(spy), data()
    spy.seen.clear()
    model.fit(x, y, batch_size=5, validation_data=(x, y), verbose=0)
    assert spy.seen == [True, True, False, False]
    spy.seen.clear()
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.predict_on_batch(x)
    model.test_on_batch(x, y)
    assert spy.seen == [False] * 4
    spy.seen.clear()
    model.train_on_batch(x, y)
    assert spy.seen == [True]


def test_batch_normalization_of_torchs_inside():
    """Running statistics as a plain torch loop leaves them; predictions by those, not by the batch."""
    x, y = data(12)
    norm = torch.nn.BatchNorm1d(6, momentum=0.3)
    model = classifier(norm, optimizer=ostinato.optimizers.SGD(0.0))
    twin = copy.deepcopy(norm).train()
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    with torch.no_grad():
        features = model.layers[0](x, training=False)
        for rows in 2 * [slice(0, 4), slice(4, 8), slice(8, 12)]:
            twin(features[rows])
        torch.testing.assert_close(norm.running_mean, twin.running_mean)
        torch.testing.assert_close(norm.running_var, twin.running_var)
        assert norm.num_batches_tracked == 6
        expected = model.layers[-1](twin.eval()(features))
    np.testing.assert_allclose(model.predict(x, verbose=0, batch_size=5), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("what", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"])
@pytest.mark.parametrize("start", ["never asked", "train", "eval", "mixed"])
def test_modes_are_put_back(what, start):
    model, (x, y) = classifier(Spy(), torch.nn.Dropout(0.1), layers.Dropout(0.1)), data()
    if start in ("train", "eval"):
        model.train(start == "train")
    elif start == "mixed":
        model.train()
        model.layers[1].dropout.eval()
        model.layers[1].train(False)
        model.layers[0].eval()
        model.layers[2].train()
    before, chosen = modes(model), [layer._mode_chosen for layer in model.layers if isinstance(layer, layers.Layer)]
    silent = {"verbose": 0} if what in ("fit", "evaluate", "predict") else {}
    getattr(model, what)(*((x,) if what.startswith("predict") else (x, y)), **silent)
    assert modes(model) == before
    assert [layer._mode_chosen for layer in model.layers if isinstance(layer, layers.Layer)] == chosen


class Breaks(torch.nn.Module):
    """Raises at its n-th call."""

    def __init__(self, call, error):
        super().__init__()
        self.left, self.error = call, error

    def forward(self, x):
        self.left -= 1
        if self.left == 0:
            raise self.error
        return x


@pytest.mark.parametrize("call", [1, 2, 3, 4], ids=["first batch", "second batch", "validation", "second epoch"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("mine"), MemoryError()], ids=repr)
def test_an_exception_leaves_everything_as_found(call, error):
    breaks = Breaks(10**6, error)
    model, (x, y) = classifier(breaks, layers.Dropout(0.5)), data()
    model.eval()
    model.layers[0].train()
    before, stream, state = modes(model), (random.DEFAULT.seed, random.DEFAULT.counter), torch.get_rng_state()
    breaks.left = call
    with pytest.raises(type(error)) as caught:
        model.fit(x, y, batch_size=5, epochs=2, validation_data=(x[:5], y[:5]), seed=3, verbose=0)
    assert caught.value is error
    assert modes(model) == before
    assert stream == (random.DEFAULT.seed, random.DEFAULT.counter) and torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert ostinato.core.context.CONTEXT.depth == 0 and ostinato.core.context.CONTEXT.training is None
    assert model.history.epoch == ([0] if call == 4 else [])
    model.fit(x, y, verbose=0)  # and it can go on
    assert model.history.epoch == [0]
