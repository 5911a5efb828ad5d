"""fit, evaluate and the calls on one batch: what comes back, optimizers, metrics."""

import functools
import math

import numpy as np
import pytest
import torch

import ostinato
from ostinato import layers
from ostinato.training.step import Step
from runs import classifier, crossentropy, data, inputs_and_targets, same_weights, tail_and_head


def test_history():
    model = classifier()
    assert model.history is None
    history = model.fit(*data(), batch_size=4, epochs=3, validation_data=data(6), verbose=0)
    assert model.history is history and history.model is model
    assert history.epoch == [0, 1, 2]
    assert history.params == {"verbose": 0, "epochs": 3, "steps": 3}
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    for values in history.history.values():
        assert len(values) == 3 and all(type(value) is float and math.isfinite(value) for value in values)


def test_no_epochs():
    model = classifier()
    before = model.get_weights()
    history = model.fit(*data(), epochs=0, verbose=0)
    assert (history.epoch, history.history) == ([], {})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_the_loss_of_an_epoch_is_the_mean_over_samples():
    """Of the batches' losses, weighted by their sizes; here nothing is learned, so that all losses are known."""
    model, (x, y) = classifier(optimizer=ostinato.optimizers.SGD(0.0)), data(10)
    history = model.fit(x, y, batch_size=4, verbose=0)
    logits = torch.from_numpy(model.predict(x, verbose=0)).double()
    expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).item()
    assert history.history["loss"] == pytest.approx([expected], rel=1e-6)
    assert history.history["accuracy"] == pytest.approx([(logits.argmax(-1).numpy() == y).mean()])
    assert model.evaluate(x, y, batch_size=3, verbose=0) == pytest.approx(
        [history.history["loss"][0], history.history["accuracy"][0]], rel=1e-6
    )


def test_what_evaluate_returns():
    model, (x, y) = classifier(), data()
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"loss": loss, "accuracy": accuracy}
    assert model.metrics_names == ["loss", "accuracy"]
    model.compile(loss=crossentropy())
    assert model.evaluate(x, y, verbose=0) == loss  # one number, no list


def test_each_call_on_a_batch_counts_for_itself():
    model, (x, y) = classifier(optimizer=ostinato.optimizers.SGD(0.0)), data()
    model.fit(x, y, verbose=0)
    first, second = model.train_on_batch(x[:5], y[:5]), model.train_on_batch(x[5:], y[5:])
    assert first == pytest.approx(model.evaluate(x[:5], y[:5], verbose=0))
    assert second == pytest.approx(model.test_on_batch(x[5:], y[5:]))
    assert model.train_on_batch(x[:5], y[:5], return_dict=True) == dict(zip(("loss", "accuracy"), first, strict=True))


def test_a_batch_may_be_lists_of_numbers():
    model = ostinato.Sequential([layers.Dense(1, kernel_initializer="ones")])
    model.compile(ostinato.optimizers.SGD(0.5), "mse")
    assert model.train_on_batch([[1.0, 2.0], [3.0, 4.0]], [3.0, 6.0]) == pytest.approx(0.5)  # (0 + 1) / 2
    assert model.predict_on_batch([[0.0, 0.0]]) == pytest.approx(-0.5)  # the bias after one step: -0.5 * (0 + 2) / 2


def test_the_loop_reads_its_own_step(monkeypatch):
    """One step for each batch, of the sizes that History tells of."""
    sizes = []
    train = Step.train

    def watched(step, batch):
        sizes.append((len(batch.x), len(batch.y), batch.samples))
        return train(step, batch)

    monkeypatch.setattr(Step, "train", watched)
    history = classifier().fit(*data(), batch_size=4, epochs=2, verbose=0)
    assert sizes == 2 * [(4, 4, 4), (4, 4, 4), (2, 2, 2)]
    assert history.params["steps"] == 3


FACTORIES = {
    "class": torch.optim.Adam,
    "lambda": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
    "partial": functools.partial(torch.optim.AdamW, lr=0.01),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
}


@pytest.mark.parametrize("made", [False, True], ids=["factory", "instance"])
@pytest.mark.parametrize("name", FACTORIES)
def test_torch_optimizers_as_in_a_plain_loop(name, made):
    """Bit for bit what a loop written in plain PyTorch gives."""
    (x, y), factory = data(10), FACTORIES[name]
    model, twin = same_weights(classifier(), classifier())
    optimizer = factory(twin.parameters())
    model.compile(factory(model.parameters()) if made else factory, crossentropy())
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for _ in range(2):
        for start in (0, 4, 8):
            rows = slice(start, start + 4)
            logits = twin(torch.from_numpy(x[rows]), training=True)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(y[rows])).backward()
            optimizer.step()
    assert type(model.optimizer) is type(optimizer)
    for mine, right in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, right)


def test_an_optimizer_of_some_weights_trains_those():
    model = classifier()
    head = model.layers[-1]
    model.compile(torch.optim.SGD(head.parameters(), lr=0.1), crossentropy())
    before = [weight.detach().clone() for weight in model.parameters()]
    model.fit(*data(), epochs=2, verbose=0)
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert changed == [False, False, False, True, True]


def test_a_schedule_of_torchs():
    optimizer = ostinato.optimizers.SGD(0.1)
    model = classifier(optimizer=optimizer)
    model.fit(*data(), verbose=0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    model.fit(*data(), verbose=0)
    schedule.step()
    before = model.get_weights()
    model.fit(*data(), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_gradients_of_before_do_not_count():
    x, y = data()
    model, twin = same_weights(classifier(), classifier())
    model(x, training=True).sum().backward()
    for each in (model, twin):
        each.fit(x, y, shuffle=False, verbose=0)
    for mine, right in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, right)


class Count(ostinato.metrics.Metric):
    """Sum of weights, in Keras's manner: it knows no mask."""

    def __init__(self, name="count", dtype=None):
        super().__init__(name, dtype)
        self.add_state("seen", torch.tensor(0.0), dist_reduce_fx="sum")

    def update_state(self, y_true, y_pred, sample_weight=None):
        weight = torch.ones(y_true.shape) if sample_weight is None else sample_weight
        self.seen = self.seen + weight.sum()

    def result(self):
        return self.seen


def test_a_metric_of_ones_own():
    metric = Count()
    metric.update_state(torch.zeros(100), torch.zeros(100))  # what it saw before does not count
    model = classifier(metrics=[metric, "accuracy"])
    history = model.fit(*data(), batch_size=4, epochs=2, verbose=0)
    assert history.history["count"] == [10.0, 10.0]
    assert model.evaluate(*data(7), verbose=0)[1] == 7.0


def test_a_metric_that_knows_no_mask_gets_weights():
    model = ostinato.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3, return_sequences=True)])
    model.compile("sgd", "mse", metrics=[Count()])
    x = np.array([[1, 2, 0], [3, 0, 0]])
    assert model.evaluate(x, np.zeros((2, 3, 3)), verbose=0)[1] == 3.0


def test_one_metric_for_two_outputs_counts_each_for_itself():
    model = tail_and_head()
    inputs, targets = inputs_and_targets()
    model.compile("sgd", [crossentropy(), "mse"], metrics=[Count()])
    history = model.fit(inputs, targets, verbose=0).history
    assert (history["first_count"], history["second_count"]) == ([10.0], [10.0])


def test_metrics_of_one_name_are_numbered():
    model = classifier(metrics=["accuracy", "accuracy", Count("accuracy")])
    history = model.fit(*data(), verbose=0).history
    assert list(history) == ["loss", "accuracy", "accuracy_1", "accuracy_2"]
    assert history["accuracy"] == history["accuracy_1"] != history["accuracy_2"] == [10.0]


def test_a_failed_first_batch_is_forgotten():
    model, (x, y) = classifier(metrics=["mse"]), data()
    with pytest.raises(ValueError, match="y_true has shape"):
        model.fit(x, y, verbose=0)
    model.compile("sgd", crossentropy(), metrics=["accuracy"])
    assert list(model.fit(x, y, verbose=0).history) == ["loss", "accuracy"]


def test_what_a_model_says_before_and_after_compile():
    model = ostinato.Sequential([layers.Dense(1)])
    assert (model.compiled, model.run_eagerly, model.jit_compile, model.loss) == (False, False, False, None)
    assert model.metrics_names == [] and model.metrics == []
    model.compile("sgd", "mse", metrics=["mae"], jit_compile=True)
    assert (model.compiled, model.run_eagerly, model.jit_compile, model.loss) == (True, False, True, "mse")
    assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
