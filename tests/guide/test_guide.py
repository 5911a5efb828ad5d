"""The Keras guide "Working with RNNs", word for word, section by section, with keras bound to ostinato."""

import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

import ostinato
from local_server import serve_mnist

GUIDE = Path(__file__).with_name("guide.py").read_text()
SECTIONS = dict(re.findall(r"^#%% ([^\n]+)\n(.*?)(?=^#%% |\Z)", GUIDE, re.DOTALL | re.MULTILINE))


class TensorShape(Sequence):
    """As TensorFlow's: a sequence that is neither list nor tuple."""

    def __init__(self, dims):
        self.dims = tuple(dims)

    def __len__(self):
        return len(self.dims)

    def __getitem__(self, index):
        return self.dims[index]


def tensorflow():
    """The seven names of TensorFlow that the guide uses, on torch."""
    module = types.ModuleType("tensorflow")
    module.TensorShape = TensorShape
    module.nest = types.SimpleNamespace(flatten=list)
    module.matmul, module.einsum = torch.matmul, torch.einsum
    module.argmax = lambda x, axis: torch.argmax(torch.as_tensor(x), dim=axis)
    module.expand_dims = lambda x, axis: torch.as_tensor(x).unsqueeze(axis)
    module.device = lambda name: torch.device(name.lower())
    return module


class Guide:
    """Runs the guide's sections in order, in one namespace, each once."""

    def __init__(self, server):
        self.server, self.namespace, self.printed = server, {"__name__": "guide"}, {}

    def upto(self, name):
        """The namespace after the section called `name`."""
        before = matplotlib.get_backend()
        matplotlib.use("Agg")
        for section, code in SECTIONS.items():
            if section not in self.printed:
                self.printed[section] = True
                exec(compile(code, f"guide.py, {section!r}", "exec"), self.namespace)
            if section == name:
                break
        matplotlib.use(before)
        return types.SimpleNamespace(**self.namespace)


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, serve_mnist(tmp_path_factory.mktemp("home")) as server:
        patch.setitem(sys.modules, "keras", ostinato)
        patch.setitem(sys.modules, "tensorflow", tensorflow())
        yield Guide(server)


def test_all_of_the_guide_is_here():
    assert len(SECTIONS) == 15
    assert "".join(f"#%% {name}\n{code}" for name, code in SECTIONS.items()) == GUIDE[GUIDE.index("#%% ") :]


def test_simple_example(guide):
    model = guide.upto("simple example").model
    assert [type(layer).__name__ for layer in model.layers] == ["Embedding", "LSTM", "Dense"]
    assert model(np.zeros((2, 7), dtype="int64")).shape == (2, 10)
    assert model.count_params() == 1000 * 64 + 4 * 128 * (64 + 128 + 1) + 129 * 10


def test_return_sequences(guide):
    model = guide.upto("outputs: return_sequences").model
    assert model(np.zeros((2, 7), dtype="int64")).shape == (2, 10)
    assert model.layers[1].return_sequences
    gru = 3 * 256 * (64 + 256 + 2)
    assert model.count_params() == 64000 + gru + 128 * (256 + 128 + 1) + 129 * 10


def test_encoder_decoder(guide):
    model = guide.upto("encoder decoder states").model
    source, target = np.random.randint(0, 1000, (3, 5)), np.random.randint(0, 2000, (3, 4))
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    embeddings = [layer for layer in model.layers if type(layer).__name__ == "Embedding"]
    _, *state = encoder(embeddings[0](torch.as_tensor(source)))
    by_hand = model.layers[-1](decoder(embeddings[1](torch.as_tensor(target)), initial_state=state))
    torch.testing.assert_close(model([source, target]), by_hand)
    other = model([source[::-1].copy(), target])
    assert not torch.allclose(other, by_hand), "the encoder's states do not reach the decoder"


def test_statefulness(guide):
    after = guide.upto("cross-batch statefulness")
    layer = after.lstm_layer
    assert layer.states is None
    whole = np.concatenate([after.paragraph1, after.paragraph2, after.paragraph3], axis=1)
    fresh = ostinato.layers.LSTM(64)
    fresh.build(whole.shape)
    fresh.set_weights(layer.get_weights())
    torch.testing.assert_close(after.output, fresh(whole), rtol=1e-5, atol=1e-6)


def test_state_reuse(guide):
    after = guide.upto("state reuse")
    kernel, recurrent, bias = (w.astype(np.float64) for w in after.new_lstm_layer.get_weights())
    h, c = (state.numpy().astype(np.float64) for state in after.existing_state)
    assert np.abs(h).max() > 0

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    for x in np.moveaxis(after.paragraph3, 1, 0):
        i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    np.testing.assert_allclose(after.new_output.detach().numpy(), h, atol=1e-5)


def test_bidirectional(guide):
    model = guide.upto("bidirectional").model
    assert model(np.zeros((2, 5, 10), dtype="float32")).shape == (2, 10)
    assert model.count_params() == 2 * 4 * 64 * (10 + 64 + 1) + 2 * 4 * 32 * (128 + 32 + 1) + 65 * 10


def test_mnist_is_downloaded(guide):
    after = guide.upto("mnist")
    assert len(guide.server.requests) == 1
    assert after.x_train.shape[1:] == (28, 28) and after.x_train.max() <= 1.0


@pytest.mark.parametrize("section", ["train cudnn", "train non-cudnn"])
def test_training(guide, section):
    after = guide.upto(section)
    model = after.model if section == "train cudnn" else after.noncudnn_model
    assert sorted(model.history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert model.history.history["loss"][0] < np.log(10)
    again = model.fit(after.x_train, after.y_train, batch_size=64, epochs=2, verbose=0)
    assert again.history["loss"][-1] < model.history.history["loss"][0] or again.history["accuracy"][-1] > 0.5


def test_inference(guide):
    after = guide.upto("cpu inference")
    assert after.result.shape == (1,) and 0 <= int(after.result) < 10
    sample = after.sample[None].astype("float32")
    np.testing.assert_array_equal(after.cpu_model.predict(sample, verbose=0), after.model.predict(sample, verbose=0))


def test_nested_model(guide):
    after = guide.upto("nested fit")
    model, x1, x2 = after.model, after.input_1_data[:3], after.input_2_data[:3]
    k1, k2 = (w.astype(np.float64) for w in after.cell.get_weights())
    y1, y2 = model.predict([x1, x2], verbose=0)
    np.testing.assert_allclose(y1, x1[:, -1] @ k1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y2, np.einsum("bij,ijkl->bkl", x2[:, -1], k2), rtol=1e-4, atol=1e-4)
    first, second = model.output_names
    assert first.startswith("rnn") and second == f"{first}_1"
    names = {"loss"} | {f"{name}_{what}" for name in (first, second) for what in ("loss", "accuracy")}
    assert set(model.history.history) == names
    assert np.isfinite(model.history.history["loss"]).all()


def test_nested_cell_survives_its_config(guide):
    after = guide.upto("nested model")
    config = ostinato.saving.serialize_keras_object(after.rnn)
    copy = ostinato.saving.deserialize_keras_object(config)
    assert copy.cell.get_config() == after.cell.get_config() == {"unit_1": 10, "unit_2": 20, "unit_3": 30}
