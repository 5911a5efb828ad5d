"""TorchModule and Wrapper: torch modules under Keras's manners."""

import copy
import json

import keras
import numpy as np
import pytest
import torch

import ostinato
from cells import Nested
from descriptors import Described
from ostinato import layers
from side_by_side import tensor


class Unregistered(torch.nn.Linear):
    def get_config(self):
        return {"in_features": self.in_features, "out_features": self.out_features}


def test_is_the_module_and_that_of_keras():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    layer, theirs = layers.TorchModule(module), keras.layers.TorchModuleWrapper(module)
    x = tensor(2, 4)
    assert torch.equal(layer(x), module(x)) and torch.equal(layer(x), theirs(x))
    mine = torch.autograd.grad(layer(x).square().sum(), layer.trainable_weights)
    right = torch.autograd.grad(module(x).square().sum(), [*module.parameters()])
    torch.testing.assert_close(mine, right)
    assert [tuple(w.shape) for w in layer.weights] == [tuple(w.shape) for w in theirs.weights]
    assert layers.TorchModuleWrapper is layers.TorchModule


def test_weights_are_the_modules_own_and_seen_once():
    linear = torch.nn.Linear(4, 4)
    layer = layers.TorchModule(torch.nn.Sequential(linear, torch.nn.ReLU(), linear, torch.nn.BatchNorm1d(4)))
    assert [id(w) for w in layer.trainable_weights[:2]] == [id(w) for w in linear.parameters()]
    assert len(layer.trainable_weights) == 4 and len(layer.non_trainable_weights) == 3
    assert len([*layer.parameters()]) == 4 and layer.count_params() == 16 + 4 + 8 + 8 + 1
    assert [*layer.state_dict()][:2] == ["module.0.weight", "module.0.bias"]
    model = ostinato.Sequential([layer, layers.Dense(2)])
    model(tensor(3, 4), training=False)
    assert len(model.trainable_weights) == 6
    layer.set_weights([w + 1 for w in layer.get_weights()])


def test_trainable():
    layer = layers.TorchModule(torch.nn.Linear(4, 3), trainable=False, name="frozen")
    assert layer.name == "frozen" and not layer.trainable_weights and len(layer.non_trainable_weights) == 2
    layer.trainable = True
    assert len(layer.trainable_weights) == 2
    model = ostinato.Sequential([layers.TorchModule(torch.nn.Linear(4, 3), trainable=False), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model(tensor(2, 4)), model.layers[0].get_weights()
    model.fit(tensor(8, 4).numpy(), np.ones((8, 1)), verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], before[1][0])
    assert not torch.equal(model(tensor(2, 4)), before[0])


def test_each_call_chooses_the_mode_and_leaves_it_as_it_was():
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(3, track_running_stats=True))
    layer = layers.TorchModule(module)
    module[0].eval()
    x = tensor(64, 3)
    for training in (True, False):
        layer(x, training=training)
        assert [each.training for each in module.modules()] == [True, False, True]
    assert module[1].num_batches_tracked == 1
    assert not layer(torch.ones(64, 3), training=True).eq(1).all()
    with pytest.warns(UserWarning, match="would behave differently in training"):
        layers.TorchModule(torch.nn.Dropout(0.5))(torch.ones(3))
    assert torch.equal(layers.TorchModule(torch.nn.Dropout(0.5)).eval()(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize("supports", [False, True])
def test_masks(supports):
    x, mask = tensor(2, 5, 4), torch.tensor([[True, True, False, True, False], [True, False, False, False, False]])
    x._keras_mask = mask
    layer = layers.TorchModule(torch.nn.Linear(4, 3), supports_masking=supports)
    if supports:
        assert torch.equal(layer(x)._keras_mask, mask)
        after = layers.LSTM(2)
        model = ostinato.Sequential([layers.Masking(), layer, after])
        right = after(layer.module(x * mask.unsqueeze(-1)), mask=mask)
        torch.testing.assert_close(model(x.detach() * mask.unsqueeze(-1)), right)
    else:
        with pytest.warns(UserWarning, match="does not support masking"):
            assert getattr(layer(x), "_keras_mask", None) is None


def test_arguments_and_several_outputs():
    module = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    layer, x = layers.TorchModule(module), tensor(2, 5, 4)
    found, right = layer(x, x, x, need_weights=False), module(x, x, x, need_weights=False)
    torch.testing.assert_close(found[0], right[0])
    recurrent = layers.TorchModule(torch.nn.GRU(4, 3, batch_first=True))
    outputs, state = recurrent(x)
    torch.testing.assert_close(state, recurrent.module(x)[1])
    assert outputs.shape == (2, 5, 3)
    symbol = ostinato.Input((None, 4))
    drawn, last = recurrent(symbol)
    assert drawn.shape == (None, None, 3)
    torch.testing.assert_close(ostinato.Model(symbol, [drawn, last])(x)[0], outputs)


def test_dtypes():
    assert layers.TorchModule(torch.nn.Linear(4, 3).double()).dtype is torch.float64
    layer = layers.TorchModule(torch.nn.Linear(4, 3), dtype="float64")
    assert layer(tensor(2, 4).numpy()).dtype is torch.float64 and layer.module.weight.dtype is torch.float64
    assert layers.TorchModule(torch.nn.ReLU()).dtype is torch.float32
    whole = layers.TorchModule(torch.nn.Embedding(5, 2))
    assert whole(np.array([[1, 2]])).shape == (1, 2, 2)
    assert whole.double().dtype is torch.float64


def test_shapes():
    layer = layers.TorchModule(torch.nn.Conv1d(4, 3, 2))
    assert layer.compute_output_shape((None, 4, 9)) == (None, 3, 8)
    assert layer(ostinato.Input((4, None))).shape == (None, 3, None)
    told = layers.TorchModule(torch.nn.Identity(), output_shape=(None, 7))
    assert told.compute_output_shape((2, 7)) == (None, 7) and told(ostinato.Input((7,))).shape == (None, 7)
    with pytest.raises(ValueError, match="cannot run on symbolic inputs of shape"):
        layer(ostinato.Input((5, 9)))


def test_config_of_one_that_can_say_its_own():
    layer = layers.TorchModule(Described(4, 3), name="mine", supports_masking=True)
    config = json.loads(json.dumps(layers.serialize(layer)))
    again = layers.deserialize(config)
    assert again.name == "mine" and again.supports_masking and again.module.in_features == 4
    assert json.loads(json.dumps(layers.serialize(again))) == config
    old_name = layers.deserialize({**config, "class_name": "TorchModuleWrapper"})
    assert type(old_name) is layers.TorchModule
    model = ostinato.Sequential([layer])
    assert ostinato.Sequential.from_config(model.get_config()).layers[0].module.out_features == 3


@pytest.mark.parametrize("module", [torch.nn.Linear(4, 3), Unregistered(4, 3)], ids=["plain", "unregistered"])
def test_config_of_any_other_says_what_to_do(module):
    with pytest.raises(TypeError, match=r"a torch module has no config. Give (Linear|Unregistered) a get_config"):
        layers.TorchModule(module).get_config()


def test_config_in_a_scope():
    layer = layers.TorchModule(Unregistered(4, 3))
    with ostinato.saving.custom_object_scope({"Unregistered": Unregistered}):
        assert layers.deserialize(layers.serialize(layer)).module.in_features == 4


def test_copies_and_compiled():
    layer, x = layers.TorchModule(torch.nn.Linear(4, 3)), tensor(2, 4)
    other = copy.deepcopy(layer)
    assert torch.equal(other(x), layer(x)) and other.module is not layer.module
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


MISUSED = {
    "a number": (3, "expected a torch.nn.Module, got int"),
    "a class": (torch.nn.Linear, "expected a torch.nn.Module"),
    "what Keras wrote": ("gAJjZm9v", "a pickle of the module in it, which is not opened here"),
    "a layer": (layers.Dense(3), "is a layer already"),
    "a lazy module": (torch.nn.LazyLinear(3), "not initialised yet. Call it on data once"),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("case", MISUSED)
def test_misuse(case):
    module, message = MISUSED[case]
    with pytest.raises(ValueError, match=message):
        layers.TorchModule(module)


def test_a_lazy_module_that_was_called():
    module = torch.nn.LazyLinear(3)
    module(tensor(2, 4))
    assert layers.TorchModule(module)(tensor(2, 4)).shape == (2, 3)


# -- Wrapper -------------------------------------------------------------------------------------------------------


@ostinato.saving.register_keras_serializable(package="tests")
class Twice(layers.Wrapper):
    def call(self, inputs):
        return self.layer(self.layer(inputs))


def test_a_wrapper_of_ones_own():
    layer = Twice(layers.Dense(4, dtype="float64"))
    layer.build((None, 4))
    x = tensor(2, 4, dtype=torch.float64)
    assert len(layer.weights) == 2 and layer.dtype is torch.float64
    torch.testing.assert_close(layer(x), layer.layer(layer.layer(x)))
    again = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    assert type(again) is Twice and again.layer.units == 4
    assert Twice(layers.Dropout(0.5))._differs_in_training() and not Twice(layers.Dense(4))._differs_in_training()


def test_a_wrapper_takes_layers_and_modules_only():
    assert Twice(torch.nn.Linear(4, 4))(tensor(2, 4)).shape == (2, 4)
    assert Twice(Nested(2, 3, 4)).layer is not None
    with pytest.raises(ValueError, match="Twice: layer must be a layer or a torch module, got 3"):
        Twice(3)
