"""Compiles modules to byte code that is never checked against its source's time.

    compile.py ROOT OUT NUMBER...

ROOT/<number>/<path>.py becomes OUT/<number>/var/cache/pycache/<path>.cpython-XY.pyc,
the layout that PYTHONPYCACHEPREFIX=/var/cache/pycache reads; tracebacks name /<path>.py.

Byte code marks what the compiling process refers to more than once, interned
names among them. A process that compiled something else before gives other
bytes, so each package gets a process of its own, forked from one that compiles
nothing, and its modules come in the same order: what is kept is kept by package.
"""
import os
import py_compile
import sys
import warnings

TAG = sys.implementation.cache_tag


def jobs(root, out, numbers):
    """Each package with its modules, the largest first so that no process is left with it at the end."""
    found = []
    for number in numbers:
        source = os.path.join(root, number)
        os.makedirs(os.path.join(out, number), exist_ok=True)
        modules, size = [], 0
        for folder, folders, files in os.walk(source):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if name.endswith(".py") and not os.path.islink(path):
                    modules.append(path[len(source) + 1:])
                    size += os.path.getsize(path)
        found.append((size, number, modules))
    return sorted(found, reverse=True)


def compile_one(path, inside, code):
    try:
        py_compile.compile(
            path, cfile=code, dfile=f"/{inside}", doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except (py_compile.PyCompileError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
        # Packages ship templates and tests for other Pythons under the same ending;
        # the interpreter would refuse them in the same way.
        pass


def main():
    root, out, *numbers = sys.argv[1:]
    if os.environ.get("PYTHONHASHSEED") != "0":
        sys.exit("PYTHONHASHSEED must be 0: the order of sets is part of the byte code")
    os.umask(0o022)
    warnings.simplefilter("ignore")
    os.makedirs(out, exist_ok=True)
    most, running = len(os.sched_getaffinity(0)), {}

    def reap():
        child, status = os.wait()
        path = running.pop(child)
        if status != 0:
            sys.exit(f"{path}: its compilation ended with the status {status}")

    work = jobs(root, out, numbers)
    for _, number, modules in work:
        if len(running) == most:
            reap()
        child = os.fork()
        if child == 0:
            # Nothing of the parent may run on: a fault here is the package's own.
            ended = 1
            try:
                for inside in sorted(modules):
                    code = os.path.join(out, number, "var/cache/pycache", f"{inside[:-3]}.{TAG}.pyc")
                    compile_one(os.path.join(root, number, inside), inside, code)
                ended = 0
            except BaseException as error:
                os.write(2, f"{number}: {error!r}\n".encode())
            finally:
                os._exit(ended)
        running[child] = number
    while running:
        reap()


main()
