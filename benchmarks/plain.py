"""Layers, the guide's model and its training as one writes them in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.peers import Prepared
from benchmarks.tasks import Guide


class Loop(torch.nn.Module):
    """A recurrent layer as a loop over time; the inputs of all steps are projected before it."""

    gates = 1

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.inputs = torch.nn.Linear(features, self.gates * units)
        self.recurrent = torch.nn.Linear(units, self.gates * units)
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(x.shape[0], self.units),) * 2
        outputs = []
        for projected in self.inputs(x).unbind(1):
            state = self.step(projected, *state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1)

    def step(self, projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class LoopLSTM(Loop):
    gates = 4

    def step(self, projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (projected + self.recurrent(h)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class LoopGRU(Loop):
    gates = 3

    def step(self, projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        (xz, xr, xh), (hz, hr, hh) = projected.chunk(3, dim=1), self.recurrent(h).chunk(3, dim=1)
        z = torch.sigmoid(xz + hz)
        return z * h + (1 - z) * torch.tanh(xh + torch.sigmoid(xr + hr) * hh), c


class LoopSimpleRNN(Loop):
    def step(self, projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(projected + self.recurrent(h)), c


LOOPS: dict[str, type[Loop]] = {"LSTM": LoopLSTM, "GRU": LoopGRU, "SimpleRNN": LoopSimpleRNN}


class LastOfLoopLSTM(LoopLSTM):
    """The last output only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, -1]


class FusedLSTM(torch.nn.Module):
    """`torch.nn.LSTM`; returns the last output."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.inner = torch.nn.LSTM(features, units, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0][:, -1]


class PlainModel(torch.nn.Module):
    """The guide's: a recurrent layer, batch normalization, dense."""

    def __init__(self, recurrent: torch.nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.normalization = torch.nn.BatchNorm1d(Guide.units, eps=1e-3, momentum=0.01)
        self.dense = torch.nn.Linear(Guide.units, Guide.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.normalization(self.recurrent(x)))


def plain_step(model: PlainModel, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """Forward, backward, optimizer."""
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def fit_plainly(recurrent: type[torch.nn.Module], steps: int) -> Prepared:
    """An epoch over shuffled samples, with no metrics."""
    model = PlainModel(recurrent(Guide.features, Guide.units))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = map(torch.from_numpy, Guide.data(steps))

    def epoch() -> None:
        for index in torch.randperm(len(x)).split(Guide.batch):
            plain_step(model, optimizer, x[index], y[index])

    return Prepared(epoch, steps)
