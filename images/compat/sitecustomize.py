"""Python imports this at its start: the cures that the service asks for."""
import importlib
import os

for name in os.environ.get("BAIBOX_CURES", "").split():
    importlib.import_module(name)
