"""Builds each source distribution of a folder to a wheel, without network.

    build_wheels.py SDISTS WHEELS [TREES]

SDISTS/<number>/<file> becomes WHEELS/<number>/<wheel>. setuptools and wheel are
on PYTHONPATH; SOURCE_DATE_EPOCH makes the result reproducible.
"""
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The hook of PEP 517, run in the folder of the project. Without a build system
# of its own a project gets what pip gives it: setuptools and its setup.py.
BUILD = """
import importlib, os, sys
name, paths, out = sys.argv[1], sys.argv[2:-1], sys.argv[-1]
sys.path[:0] = [os.path.abspath(path) for path in paths]
module, _, inner = name.partition(":")
backend = importlib.import_module(module)
for part in filter(None, inner.split(".")):
    backend = getattr(backend, part)
sys.argv[1:] = []
backend.build_wheel(out)
"""
LEGACY = "setuptools.build_meta:__legacy__"


def build_system(tree):
    """The backend that pyproject.toml names and the paths it is found on.

    Read by lines, since Python before 3.11 reads no TOML: two keys of one table.
    """
    backend, paths, inside = LEGACY, [], False
    project = tree / "pyproject.toml"
    for line in project.read_text("utf-8").splitlines() if project.is_file() else []:
        line = line.split("#")[0].strip()
        if line.startswith("["):
            inside = line == "[build-system]"
        elif inside and "=" in line:
            key, value = (part.strip() for part in line.split("=", 1))
            if key == "build-backend":
                backend = value.strip("'\"")
            elif key == "backend-path":
                paths = [part.strip().strip("'\"") for part in value.strip("[]").split(",") if part.strip()]
    return backend, paths


def refuse(archive, name, what):
    sys.exit(f"{archive.name}: the entry {name} {what}")


def checked(archive, name):
    path = os.path.normpath(name)
    if name.startswith("/") or "\\" in name or path == ".." or path.startswith("../"):
        refuse(archive, name, "leaves its folder")


def unpack(archive, into):
    into.mkdir(parents=True)
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                checked(archive, entry.filename)
                if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    refuse(archive, entry.filename, "is neither a file nor a folder")
            opened.extractall(into)
    else:
        with tarfile.open(archive) as opened:
            for entry in opened.getmembers():
                checked(archive, entry.name)
                if not (entry.isfile() or entry.isdir()):
                    refuse(archive, entry.name, "is neither a file nor a folder")
                # Whatever the archive says, the build can read and write its tree.
                entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
            opened.extractall(into)
    folders = [entry for entry in into.iterdir() if entry.is_dir()]
    if len(folders) != 1:
        sys.exit(f"{archive.name}: expected one folder, found {len(folders)}")
    return folders[0]


def build(archive, tree, out):
    """What went wrong, or nothing."""
    tree = unpack(archive, tree)
    out.mkdir(parents=True)
    backend, paths = build_system(tree)
    environment = dict(os.environ, PYTHONHASHSEED="0", LC_ALL="C.UTF-8", TZ="UTC")
    # Far from the tree: what the first build compiled of its tools, others need not.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, backend, *paths, str(out.resolve())], cwd=tree, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    )
    if done.returncode != 0:
        return f"{archive.name}: the build by {backend} ended with {done.returncode}\n{done.stdout[-4000:]}"
    made = [path.name for path in out.iterdir()]
    if len(made) != 1 or not made[0].endswith(".whl"):
        return f"{archive.name}: the build by {backend} left {sorted(made)}, not one wheel"
    shutil.rmtree(tree)
    return None


def one(job):
    try:
        return build(*job)
    except SystemExit as refusal:
        return str(refusal)


def main():
    sdists, wheels = Path(sys.argv[1]), Path(sys.argv[2])
    trees = Path(sys.argv[3] if len(sys.argv) > 3 else "/build/trees")
    if "SOURCE_DATE_EPOCH" not in os.environ:
        sys.exit("SOURCE_DATE_EPOCH is not set: the wheels would carry the time of the build")
    os.umask(0o022)
    jobs = []
    for folder in sorted(sdists.iterdir(), key=lambda path: int(path.name)):
        (archive,) = folder.iterdir()
        jobs.append((archive, trees / folder.name, wheels / folder.name))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        faults = [fault for fault in pool.map(one, jobs) if fault]
    if faults:
        sys.exit("\n".join(faults))


main()
