"""Stands in for `keras` in the rewritten copies of Keras's test files.

`kerasshim.src.X` is a file here where the tests need something of a harness (ops, backend, testing, ...). Every other
module (initializers, saving, constraints, ...) is made on demand by the finder below, and looks each name up in the
library under test.
"""

import importlib.abc
import importlib.machinery
import sys

from kerasshim.library import forward


class ForwardingFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds any module below `kerasshim.src` that is no file."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.startswith("kerasshim.src.") and not fullname.endswith("_test"):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__getattr__ = forward(module.__name__.split(".")[2])


sys.meta_path.append(ForwardingFinder())  # last: a file of the harness or a copied test comes first
