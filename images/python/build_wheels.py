"""Builds each source distribution of a folder to a wheel, without network.

    build_wheels.py SDISTS WHEELS

SDISTS/<number>/<file> becomes WHEELS/<number>/<wheel>. setuptools and wheel are
on PYTHONPATH; SOURCE_DATE_EPOCH makes the result reproducible.
"""
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

# What pip runs for projects without a build system of their own.
BUILD = """
import os, sys
sys.path.insert(0, os.getcwd())
try:
    from setuptools import build_meta
    backend = build_meta.__legacy__
    print(backend.build_wheel(sys.argv[1]))
except ImportError as error:
    sys.exit(f"setuptools is not there: {error}")
"""


def unpack(archive: Path, into: Path) -> Path:
    into.mkdir(parents=True)
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(into)
    else:
        with tarfile.open(archive) as opened:
            for member in opened.getmembers():
                path = os.path.normpath(member.name)
                if path.startswith(("/", "..")) or not (member.isfile() or member.isdir()):
                    sys.exit(f"{archive.name}: the entry {member.name} is refused")
            opened.extractall(into)
    folders = [entry for entry in into.iterdir() if entry.is_dir()]
    if len(folders) != 1:
        sys.exit(f"{archive.name}: expected one folder, found {len(folders)}")
    return folders[0]


def main() -> None:
    sdists, wheels = Path(sys.argv[1]), Path(sys.argv[2])
    for folder in sorted(sdists.iterdir(), key=lambda path: int(path.name)):
        (archive,) = folder.iterdir()
        tree = unpack(archive, Path("/build/trees") / folder.name)
        out = wheels / folder.name
        out.mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(out)], cwd=tree, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        if done.returncode != 0:
            sys.exit(f"{archive.name}: the build ended with {done.returncode}\n{done.stdout[-4000:]}")


main()
