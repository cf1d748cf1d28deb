"""The managers of 24.09.13 and 24.09.14 import errors from `errors.common`, which only later releases have.

What they ask for there is in `api.exceptions`. Where the tree has the module, this is never reached.
"""
import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

PACKAGE = "ai.backend.manager.errors"


class Elsewhere(MetaPathFinder, Loader):
    """Found last: after everything that is there."""

    def find_spec(self, name, path=None, target=None):
        if name in (PACKAGE, f"{PACKAGE}.common"):
            return ModuleSpec(name, self, is_package=name == PACKAGE)
        return None

    def exec_module(self, module):
        module.__getattr__ = lambda name: getattr(importlib.import_module("ai.backend.manager.api.exceptions"), name)


sys.meta_path.append(Elsewhere())
