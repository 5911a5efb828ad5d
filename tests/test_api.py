"""What the package shows: the names of `api.txt`, no more and no fewer, each documented with an example that runs."""

import inspect
import types
from pathlib import Path

import keras
import pytest

import ostinato

LISTED = Path(__file__).parents[1].joinpath("api.txt").read_text().split()


def shown(module, prefix):
    """The public names of a module and of those in it."""
    for name in module.__all__:
        item = getattr(module, name)
        if isinstance(item, types.ModuleType):
            yield from shown(item, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


def found(path):
    item = ostinato
    for name in path.split(".")[1:]:
        item = getattr(item, name)
    return item


def test_the_list_is_complete():
    assert sorted(shown(ostinato, "ostinato")) == LISTED


@pytest.mark.parametrize("name", ["Initializer", "Layer", "Loss", "Metric", "Model", "Optimizer", "Regularizer"])
def test_what_keras_shows_at_the_top_is_there_too(name):
    """`class Mine(keras.Layer)` is how Keras 3 has it written."""
    home = {"Loss": "losses"}.get(name, f"{name.lower()}s")
    assert getattr(ostinato, name) is getattr(getattr(ostinato, home), name)
    assert getattr(keras, name) is getattr(getattr(keras, home), name)


def test_the_list_is_sorted_and_names_each_once():
    assert sorted(set(LISTED)) == LISTED


@pytest.mark.parametrize("path", [path for path in LISTED if not path.endswith(".__version__")])
def test_each_name_has_an_example(path):
    """The examples are run with the doctests."""
    item = found(path)
    assert ">>> " in (item.__doc__ or ""), f"{path} has no example"


@pytest.mark.parametrize("path", [path for path in LISTED if inspect.isclass(found(path))])
def test_each_method_says_what_it_does(path):
    cls = found(path)
    for name, item in vars(cls).items():
        method = callable(item) or isinstance(item, (property, classmethod, staticmethod))
        if method and not name.startswith("_") and not inspect.isclass(item):
            assert inspect.getdoc(getattr(cls, name)), f"{path}.{name} has no docstring"


def test_public_functions_come_from_where_doctests_are_collected():
    """An example that is wrapped away from its module would never be run."""
    for path in LISTED:
        module = getattr(found(path), "__module__", "ostinato")
        assert module.startswith("ostinato"), f"{path} is of {module}"
