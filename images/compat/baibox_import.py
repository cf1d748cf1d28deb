"""Cures for modules that are not loaded yet."""
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class Finder(MetaPathFinder):
    """Cures a module as soon as it is imported, by whomever."""

    def __init__(self, module, cure):
        self.module, self.cure = module, cure

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                self.cure(module)

            spec.loader.exec_module = exec_module
        return spec


def when_imported(module, cure):
    sys.meta_path.insert(0, Finder(module, cure))
