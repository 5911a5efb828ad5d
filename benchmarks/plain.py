"""The guide's model as one writes it in plain PyTorch: with `torch.nn.LSTM`, and with the LSTM as a Python loop."""

from __future__ import annotations

import torch
from torch import Tensor


class LoopLSTM(torch.nn.Module):
    """An LSTM as a loop over time; returns the last output."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.inputs = torch.nn.Linear(features, 4 * units)
        self.recurrent = torch.nn.Linear(units, 4 * units, bias=False)
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.units)
        c = x.new_zeros(x.shape[0], self.units)
        projected = self.inputs(x)
        for t in range(x.shape[1]):
            i, f, g, o = (projected[:, t] + self.recurrent(h)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


class FusedLSTM(torch.nn.Module):
    """`torch.nn.LSTM`; returns the last output."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.inner = torch.nn.LSTM(features, units, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0][:, -1]


class PlainModel(torch.nn.Module):
    """A recurrent layer, batch normalization, dense."""

    def __init__(self, recurrent: torch.nn.Module, units: int, classes: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.normalization = torch.nn.BatchNorm1d(units, eps=1e-3, momentum=0.01)
        self.dense = torch.nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.normalization(self.recurrent(x)))


def plain_step(model: PlainModel, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    """Forward, backward, optimizer."""
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
