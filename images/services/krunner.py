"""Unpacks the kernel runner's environment into the volume at /krunner, once.

The agent's own extraction would mount a path of its container, which the engine
does not see. The marker is written last: a volume without it is begun again.
"""
import os
import pathlib
import shutil
import sys
import tarfile

import ai.backend.krunner.static_gnu as krunner

source = pathlib.Path(krunner.__file__).parent
version = (source / "krunner-version.static-gnu.txt").read_text().strip()
volume = pathlib.Path("/krunner")
marker = volume / ".baibox-version"
if marker.is_file() and marker.read_text() == version:
    sys.exit(0)
for entry in volume.iterdir():
    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
with tarfile.open(source / f"krunner-env.static-gnu.{os.uname().machine}.tar.xz") as archive:
    archive.extractall(volume)
(volume / "VERSION").write_text(version)
marker.write_text(version)
