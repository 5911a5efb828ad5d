"""Optimizers with their options, and the parameters and gradients on which they are tried."""

import math
from typing import Any

import torch

from ostinato.training import optimizers

SHAPES = [(28, 12), (6, 12), (12,), (3, 10), (10,), (1,), ()]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"learning_rate": 0.1, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.01, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Adam", {"learning_rate": 0.01, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"learning_rate": 0.01, "momentum": 0.9}),
    ("RMSprop", {"learning_rate": 0.01, "centered": True, "epsilon": 1e-4}),
    ("RMSprop", {"learning_rate": 0.01, "centered": True, "momentum": 0.5, "rho": 0.8, "epsilon": 1e-3}),
    ("AdamW", {}),
    ("AdamW", {"learning_rate": 0.1, "weight_decay": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.0, "amsgrad": True}),
    ("Adagrad", {}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-3}),
    ("Adamax", {}),
    ("Adamax", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Nadam", {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}),
    ("Lion", {}),
    ("Lion", {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.75}),
]

OPTIONS: list[dict[str, Any]] = [
    {"weight_decay": 0.1},
    {"clipnorm": 0.5},
    {"clipvalue": 0.3},
    {"global_clipnorm": 1.5},
    {"clipnorm": 0.0},
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 3},
    {"loss_scale_factor": 8.0, "clipvalue": 0.1},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 3, "clipnorm": 0.5, "weight_decay": 0.2, "loss_scale_factor": 0.5},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2},
    {
        "weight_decay": 0.3, "global_clipnorm": 0.8, "gradient_accumulation_steps": 4, "use_ema": True,
        "ema_momentum": 0.0, "ema_overwrite_frequency": 1,
    },
]  # fmt: skip

# Keras takes powers of the betas in float32, which puts a few parts in a million into each step of these.
DRIFTING = {"Adam", "AdamW", "Adamax", "Nadam"}


def names(case: Any) -> str:
    return case if isinstance(case, str) else "-".join(f"{key}={value}" for key, value in case.items()) or "defaults"


def start(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def gradients(step: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Of very different sizes, now and then 0, larger in some steps than in later ones."""
    generator = torch.Generator().manual_seed(100 + step)
    scale = [1.0, 1e-3, 10.0, 1e-6, 1.0, 0.0, 3.0]
    wave = 1 + math.sin(step / 3)
    return [(torch.randn(s, generator=generator) * k * wave).to(dtype) for s, k in zip(SHAPES, scale, strict=True)]


def run(optimizer: Any, parameters: list[Any], steps: range, dtype: torch.dtype = torch.float32) -> None:
    for step in steps:
        for parameter, gradient in zip(parameters, gradients(step, dtype), strict=True):
            parameter.grad = gradient
        optimizer.step()


def make(name: str, options: dict[str, Any]) -> Any:
    return getattr(optimizers, name)(**options)
