"""Python imports this at its start: the agent's way to the engine gets its one place."""
try:
    import baibox_engine  # noqa: F401
except ImportError as error:
    # An interpreter without aiodocker in this image says nothing to the engine.
    if error.name != "aiodocker":
        raise
