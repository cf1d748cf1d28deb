"""Compiles modules to byte code that is never checked against its source's time.

Standard input has chunks of modules, one after the other: a line `NUMBER COUNT`, then
for each module a line `SIZE PATH` and its bytes. Standard output gets for each chunk,
in any order, a line `NUMBER COUNT`, then for each module that compiles a line `SIZE PATH`,
with the path below PYTHONPYCACHEPREFIX, and its byte code; after all of them the line that
is the first argument.
Tracebacks name the module's path from the root.

Byte code marks what its process refers to more than once, interned names among them, and
so tells what else that process did. Whoever reads it here takes the needless marks away.
A process takes some chunks, first one and later more; cores take the next as they get free.
"""
# What `os`, `warnings` and `importlib.util` stand on: the interpreter has no byte code of its own yet, and
# would compile those first.
import _warnings
import marshal
import posix
import select
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from _imp import source_hash

# By PEP 552: validity hangs on the source's hash, which nobody checks.
UNCHECKED = MAGIC_NUMBER + (0b01).to_bytes(4, "little")


def chunks(stream):
    """Each with its number and modules, which are pairs of path and source."""
    while line := stream.readline():
        number, count = map(int, line.split())
        modules = []
        for _ in range(count):
            size, _, path = stream.readline().rstrip(b"\n").partition(b" ")
            source = stream.read(int(size))
            if len(source) != int(size):
                sys.exit("standard input ended within a module")
            modules.append((path, source))
        yield number, modules


def byte_code(path, source):
    """None for what the interpreter refuses: packages ship templates and tests for other Pythons as modules."""
    try:
        code = compile(source, b"/" + path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError):
        return None
    return UNCHECKED + source_hash(int.from_bytes(MAGIC_NUMBER, "little"), source) + marshal.dumps(code)


def outcome(number, modules):
    found = [(path, code) for path, source in modules if (code := byte_code(path, source)) is not None]
    parts = [b"%d %d\n" % (number, len(found))]
    for path, code in found:
        place = b"%s.%s.pyc" % (path[:-len(".py")], sys.implementation.cache_tag.encode())
        parts += [b"%d %s\n" % (len(code), place), code]
    return b"".join(parts)


def named(some):
    _, modules = some[0]
    return f"{modules[0][0].decode(errors='replace')} and what follows"


def shares(stream):
    """Some chunks for each process: little work goes to all cores, and much takes few processes."""
    some, begun = [], 0
    for chunk in chunks(stream):
        some.append(chunk)
        if len(some) > min(begun // 4, 7):
            yield some
            some, begun = [], begun + 1
    if some:
        yield some


def start(some):
    """A process of its own for some chunks; what it writes can be read from the descriptor."""
    reading, writing = posix.pipe()
    child = posix.fork()
    if child == 0:
        # Nothing of the parent may run on: a fault here is the chunks' own.
        ended = 1
        try:
            with open(writing, "wb", buffering=0) as out:
                content = memoryview(b"".join(outcome(*chunk) for chunk in some))
                while content:
                    content = content[out.write(content):]
            ended = 0
        except BaseException as error:
            posix.write(2, f"{named(some)}: {error!r}\n".encode())
        finally:
            posix._exit(ended)
    posix.close(writing)
    return reading, child


def main():
    if posix.environ.get(b"PYTHONHASHSEED") != b"0":
        sys.exit("PYTHONHASHSEED must be 0: the order of sets is part of the byte code")
    _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    # Maintainer scripts may run beside it, and more waits for them.
    posix.nice(10)
    most, running = len(posix.sched_getaffinity(0)), {}

    def gather():
        """What a process has written, until one has ended."""
        while True:
            for reading in select.select(list(running), [], [])[0]:
                child, first, parts = running[reading]
                part = posix.read(reading, 1 << 20)
                if part:
                    parts.append(part)
                    continue
                posix.close(reading)
                del running[reading]
                _, status = posix.waitpid(child, 0)
                if status != 0:
                    sys.exit(f"{first}: the compilation ended with the status {status}")
                sys.stdout.buffer.writelines(parts)
                return

    for some in shares(sys.stdin.buffer):
        if len(running) == most:
            gather()
        reading, child = start(some)
        running[reading] = child, named(some), []
    while running:
        gather()
    sys.stdout.buffer.write(b"%s\n" % sys.argv[1].encode())
    sys.stdout.buffer.flush()


main()
