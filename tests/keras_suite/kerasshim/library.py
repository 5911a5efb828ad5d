"""The library under test: named by KERAS_SUITE_MODULE, found by its public names only."""

import functools
import importlib
import os

NAME = os.environ["KERAS_SUITE_MODULE"]
LIBRARY = importlib.import_module(NAME)


@functools.cache
def room(name):
    """The library's submodule `name`, or None."""
    if not hasattr(LIBRARY, name):
        try:
            importlib.import_module(f"{NAME}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{NAME}.{name}":
                raise
    return getattr(LIBRARY, name, None)


def find(name, attribute):
    """`attribute` of the library's submodule `name`, else of its top level."""
    for place in (room(name), LIBRARY):
        if hasattr(place, attribute):
            return getattr(place, attribute)
    raise AttributeError(f"{NAME} has neither {name}.{attribute} nor {attribute}")


def forward(name):
    """A module's `__getattr__` that looks in the library's submodule `name`, then in its top level."""

    def lookup(attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return find(name, attribute)

    return lookup
