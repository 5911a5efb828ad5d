"""Callbacks beyond what Keras decides: torch's optimizers and schedulers, files, misuse."""

import re

import numpy as np
import pytest
import torch

import ostinato
from ostinato import callbacks
from ostinato.callbacks import CallbackList


def model(optimizer="sgd", **options):
    made = ostinato.Sequential([ostinato.Input((2,)), ostinato.layers.Dense(3), ostinato.layers.Dense(1)])
    made.compile(optimizer(made) if callable(optimizer) else optimizer, "mse", **options)
    return made


def torch_sgd(made):
    return torch.optim.SGD(made.parameters(), lr=0.5)


def ours(made):
    optimizer = ostinato.optimizers.SGD(0.5)
    optimizer.build(made.parameters())
    return optimizer


def two_groups(made):
    first, second = made.layers[-2:]
    return torch.optim.SGD([{"params": first.parameters()}, {"params": second.parameters(), "lr": 0.1}], lr=0.5)


def rates(made):
    return [float(group["lr"]) for group in made.optimizer.param_groups]


def train(callback, made, epochs, batches=3):
    """Tell a callback of epochs; the logs of each. A step of the optimizer for each batch, without gradients."""
    for each in made.parameters():
        each.grad = torch.zeros_like(each)
    seen = []
    with CallbackList(callback, model=made, params={"epochs": len(epochs), "steps": batches}).phase("train") as run:
        for epoch, logs in enumerate(epochs):
            run.epoch_begin(epoch)
            for batch in range(batches):
                run.batch_begin(batch)
                made.optimizer.step()
                run.batch_end(batch, lambda logs=logs, batch=batch: {"loss": logs["loss"] + batch})
            logs = dict(logs)
            run.epoch_end(epoch, logs)
            seen.append(logs)
    return seen


LOSSES = [{"loss": loss} for loss in (1.0, 0.5, 0.5, 0.5, 0.25, 0.5, 0.5)]

# -- learning rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [torch_sgd, ours])
def test_schedules_of_either_optimizer(optimizer):
    made = model(optimizer)
    logs = train(callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2), made, LOSSES[:3])
    assert [each["learning_rate"] for each in logs] == [0.25, 0.125, 0.0625]
    assert rates(made) == [0.0625]


def test_groups_keep_their_ratio():
    made = model(two_groups)
    train(callbacks.LearningRateScheduler(lambda epoch: 1.0), made, LOSSES[:1])
    assert rates(made) == [1.0, 0.2]
    plateau = callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1)
    logs = train(plateau, made, LOSSES[:3])
    np.testing.assert_allclose(rates(made), [0.5, 0.1])
    assert [each["learning_rate"] for each in logs] == [1.0, 1.0, 1.0]  # as it was in the epoch
    made.optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(ValueError, match=r"learning rates \[0\.0, 0\.1\]; the others cannot follow the first from 0"):
        train(callbacks.LearningRateScheduler(lambda epoch: 1.0), made, LOSSES[:1])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor():
    made = model(lambda made: torch.optim.Adam(made.parameters(), lr=torch.tensor(0.5)))
    held = made.optimizer.param_groups[0]["lr"]
    train(callbacks.LearningRateScheduler(lambda epoch, rate: torch.tensor(rate) * 0.5), made, LOSSES[:2])
    assert made.optimizer.param_groups[0]["lr"] is held
    assert held == 0.125


@pytest.mark.parametrize("name", ["LearningRateScheduler", "ReduceLROnPlateau", "TorchScheduler"])
def test_an_optimizer_that_is_not_made_yet(name):
    made = ostinato.Sequential([ostinato.layers.Dense(1)])
    made.compile(torch.optim.AdamW, "mse")
    callback = {
        "LearningRateScheduler": lambda: callbacks.LearningRateScheduler(lambda epoch: 0.5),
        "ReduceLROnPlateau": lambda: callbacks.ReduceLROnPlateau("loss"),
        "TorchScheduler": lambda: callbacks.TorchScheduler(lambda optimizer: None),
    }[name]()
    with (
        pytest.raises(ValueError, match=rf"{name}: .*optimizer.* Build the model before fit"),
        CallbackList(callback, model=made).phase("train") as run,
    ):
        run.epoch_begin(0)
        run.epoch_end(0, {"loss": 1.0})


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (0.5, r"schedule must be a function of \(epoch, learning_rate\), got 0\.5"),
        (lambda: 0.5, r"it takes \(\)"),
        (lambda a, b, c: 0.5, r"it takes \(a, b, c\)"),
    ],
)
def test_schedules_that_cannot_be_called(schedule, message):
    with pytest.raises(TypeError, match=message):
        callbacks.LearningRateScheduler(schedule)


def test_a_type_error_inside_a_schedule_is_told():
    """Keras takes it for a schedule of the epoch alone."""

    def schedule(epoch, rate=None):
        return rate + "0.5"

    with pytest.raises(TypeError, match="unsupported operand"):
        train(callbacks.LearningRateScheduler(schedule), model(torch_sgd), LOSSES[:1])


# -- schedulers of torch ----------------------------------------------------------------------------------------------

FACTORIES = {
    "step": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
    "linear": lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=4),
    "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9),
    "one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=50),
    "sequence": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.ConstantLR(optimizer, 0.1, 2),
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        ],
        [2],
    ),
}


@pytest.mark.parametrize("optimizer", [torch_sgd, ours, two_groups])
@pytest.mark.parametrize("interval", ["epoch", "batch"])
@pytest.mark.parametrize("instance", [False, True])
@pytest.mark.parametrize("name", FACTORIES)
def test_torch_schedulers(optimizer, interval, instance, name):
    """The rates are those of torch's own loop."""
    made, right = model(optimizer), model(optimizer)
    scheduler = FACTORIES[name](made.optimizer) if instance else FACTORIES[name]
    logs = train(callbacks.TorchScheduler(scheduler, interval=interval), made, LOSSES)
    expected = FACTORIES[name](right.optimizer)
    wanted = []
    for _ in LOSSES:
        for _ in range(3):
            right.optimizer.step()
            if interval == "batch":
                expected.step()
        wanted.append(rates(right)[0])
        if interval == "epoch":
            expected.step()
    assert [each["learning_rate"] for each in logs] == wanted
    assert rates(made) == rates(right)


@pytest.mark.parametrize("optimizer", [torch_sgd, ours])
@pytest.mark.parametrize("interval", ["epoch", "batch"])
def test_torch_plateau(optimizer, interval):
    made, right = model(optimizer), model(optimizer)

    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)

    logs = train(callbacks.TorchScheduler(plateau, interval, monitor="loss"), made, LOSSES)
    expected = plateau(right.optimizer)
    for each in LOSSES:
        for value in [each["loss"]] if interval == "epoch" else [each["loss"] + batch for batch in range(3)]:
            expected.step(value)
    assert rates(made) == rates(right) != [0.5]
    assert len({each["learning_rate"] for each in logs}) > 1


def test_a_factory_makes_one_each_time_and_an_instance_goes_on():
    made = model(torch_sgd)
    again = callbacks.TorchScheduler(FACTORIES["step"])
    train(again, made, LOSSES[:1])
    first = again.scheduler
    train(again, made, LOSSES[:1])
    assert again.scheduler is not first
    made = model(torch_sgd)
    one = callbacks.TorchScheduler(FACTORIES["step"](made.optimizer))
    for _ in range(2):
        train(one, made, LOSSES[:1])
    assert rates(made) == [0.25]


def test_misused_schedulers():
    made, other = model(torch_sgd), model(torch_sgd)
    with pytest.raises(ValueError, match="interval must be 'epoch' or 'batch', got 'step'"):
        callbacks.TorchScheduler(FACTORIES["step"], interval="step")
    with pytest.raises(TypeError, match=r"expected a scheduler of torch\.optim\.lr_scheduler.*got 0\.5"):
        callbacks.TorchScheduler(0.5)
    with pytest.raises(ValueError, match="pass monitor='val_loss'"):
        callbacks.TorchScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau(made.optimizer))
    with pytest.raises(ValueError, match="pass monitor='val_loss'"):
        train(callbacks.TorchScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau), made, LOSSES)
    with pytest.raises(ValueError, match="StepLR has another optimizer than the model was compiled with"):
        train(callbacks.TorchScheduler(FACTORIES["step"](other.optimizer)), made, LOSSES)
    with pytest.raises(TypeError, match=r"made 0\.5, which is no scheduler"):
        train(callbacks.TorchScheduler(lambda optimizer: 0.5), made, LOSSES)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(made.optimizer)
    with pytest.raises(ValueError, match="'val_loss' is not in the logs; there are: loss, learning_rate"):
        train(callbacks.TorchScheduler(plateau, monitor="val_loss"), made, LOSSES)


# -- lambdas ----------------------------------------------------------------------------------------------------------


def test_lambda_hooks():
    heard = []
    names = [name for name in vars(callbacks.Callback) if name.startswith("on_")]
    callback = callbacks.LambdaCallback(
        **{name: lambda *args, name=name, **kwargs: heard.append(name) for name in names}, mine=3, unused=None
    )
    assert callback.mine == 3
    assert not hasattr(callback, "unused")
    for kind in ("train", "test", "predict"):
        with CallbackList(callback).phase(kind) as run:
            run.epoch_begin(0)
            run.batch_begin(0)
            run.batch_end(0, dict)
            run.epoch_end(0, {})
    assert set(heard) == {name for name in names if name not in ("on_batch_begin", "on_batch_end")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_epoch_ends": print}, "there is no hook 'on_epoch_ends'. Did you mean 'on_epoch_end'?"),
        ({"on_train_end": 3}, "on_train_end must be a function, got 3"),
        ({"on_predict_begin": "print"}, "on_predict_begin must be a function, got 'print'"),
    ],
)
def test_misused_lambdas(arguments, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        callbacks.LambdaCallback(**arguments)


# -- files ------------------------------------------------------------------------------------------------------------


def test_rows_are_there_at_once(tmp_path):
    path = tmp_path / "log.csv"
    with CallbackList(callbacks.CSVLogger(path)).phase("train") as run:
        for epoch in range(3):
            run.epoch_end(epoch, {"loss": epoch / 2})
            assert path.read_text().splitlines()[-1] == f"{epoch},{epoch / 2},NA"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_file_is_closed_whatever_happens(tmp_path, error):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    held = []
    with pytest.raises(error), CallbackList(logger).phase("train") as run:
        held.append(logger.csv_file)
        run.epoch_end(0, {"loss": 1.0})
        raise error
    assert held[0].closed and logger.csv_file is None


def test_the_file_is_closed_if_it_cannot_be_written(tmp_path):
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    held = []

    class Bad:
        def __str__(self):
            raise OSError("full")

    with pytest.raises(OSError, match="full"), CallbackList(logger).phase("train") as run:
        held.append(logger.csv_file)
        run.epoch_end(0, {"loss": Bad()})
    assert held[0].closed and logger.csv_file is None


def test_a_file_with_other_columns_is_not_continued(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,accuracy,loss\n0,0.5,1.0\n")
    with (
        pytest.raises(ValueError, match=r"has the columns \['epoch', 'accuracy', 'loss'\], this training has"),
        CallbackList(callbacks.CSVLogger(path, append=True)).phase("train") as run,
    ):
        run.epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    assert path.read_text() == "epoch,accuracy,loss\n0,0.5,1.0\n"


def test_misused_tables(tmp_path):
    for separator in ("", ", ", None, 1):
        with pytest.raises(ValueError, match=re.escape(f"separator must be one character, got {separator!r}")):
            callbacks.CSVLogger(tmp_path / "log.csv", separator=separator)
    missing = callbacks.CSVLogger(tmp_path / "missing" / "log.csv")
    with pytest.raises(FileNotFoundError), CallbackList(missing).phase("train"):
        raise AssertionError("training must not begin")


def test_a_table_that_is_given_no_name():
    with pytest.raises(TypeError):
        callbacks.CSVLogger(None)
