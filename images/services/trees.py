"""Brings the trees of `trees.json` that are not there yet, each at its commit: `trees.py DATA`.

Runs as root. What it brings belongs to whoever owns the workspace's own repository.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(os.environ["BAIBOX_STATE"])
WORKSPACE = pathlib.Path(os.environ["BAIBOX_WORKSPACE"])
owner = os.stat(os.environ["BAIBOX_OWNED"])
data = pathlib.Path(sys.argv[1])

for name in ("agent", "scratches", "vfolder/volume1"):
    (data / name).mkdir(parents=True, exist_ok=True)
# Where one asks for restarts: `again.py`.
(WORKSPACE / ".restart").mkdir(exist_ok=True)
for folder in (WORKSPACE, WORKSPACE / ".restart"):
    os.chown(folder, owner.st_uid, owner.st_gid)
failed = []
for name, tree in json.loads((HERE / "trees.json").read_text()).items():
    place = WORKSPACE / name
    if place.exists():
        continue
    # Made beside and renamed, so that what has its name is whole.
    new = WORKSPACE / f".new-{name}"
    shutil.rmtree(new, ignore_errors=True)

    def git(*arguments):
        subprocess.run(["git", "-C", str(new), *arguments], check=True)

    try:
        new.mkdir()
        git("init", "--quiet", "--initial-branch", tree["branch"])
        git("remote", "add", "origin", tree["url"])
        # Servers give commits by name, and a shallow one is soon here.
        git("fetch", "--quiet", "--depth", "1", "origin", tree["commit"])
        git("reset", "--quiet", "--hard", tree["commit"])
    except subprocess.CalledProcessError:
        failed.append(f"`{name}`: commit {tree['commit']} cannot be had from {tree['url']}")
        continue
    for folder, folders, files in os.walk(new):
        for entry in (folder, *(os.path.join(folder, file) for file in files)):
            os.chown(entry, owner.st_uid, owner.st_gid, follow_symlinks=False)
    new.rename(place)
if failed:
    sys.exit("\n".join([*failed, "see that the network is there, then start again: what is there is kept"]))
