"""Compiles modules to byte code that is never checked against its source's time.

    compile.py ROOT OUT NUMBER...

ROOT/<number>/<path>.py becomes OUT/<number>/var/cache/pycache/<path>.cpython-XY.pyc,
the layout that PYTHONPYCACHEPREFIX=/var/cache/pycache reads; tracebacks name /<path>.py.
"""
import os
import py_compile
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

TAG = sys.implementation.cache_tag


def compile_tree(job):
    root, out, number = job
    source = Path(root) / number
    target = Path(out) / number
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*.py")):
        inside = path.relative_to(source)
        code = target / "var/cache/pycache" / inside.parent / f"{inside.stem}.{TAG}.pyc"
        try:
            py_compile.compile(
                str(path), cfile=str(code), dfile=f"/{inside}", doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, UnicodeDecodeError, SyntaxError, ValueError):
            # Packages ship templates and tests for other Pythons under the same ending;
            # the interpreter would refuse them in the same way.
            continue
    return number


if __name__ == "__main__":
    root, out, *numbers = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(compile_tree, [(root, out, number) for number in numbers]):
            pass
