"""What a dev container needs once: `setup.py [MODULE…]`.

Tools run it after they made the container and at every later attach, since a hook that
failed is not run again by them. What was done is remembered in the container; a failure
is not, so the next attach goes on from there.
"""
import importlib
import os
import pathlib
import subprocess
import sys

workspace = pathlib.Path(os.environ["BAIBOX_WORKSPACE"])
done = pathlib.Path.home() / ".cache" / "baibox-setup"
modules = sys.argv[1:]
wanted = " ".join(modules)
if done.is_file() and done.read_text() == wanted:
    sys.exit(0)

owned = pathlib.Path(os.environ["BAIBOX_OWNED"])
owner = owned.stat().st_uid
if os.getuid() != owner:
    sys.exit(f"this runs as user {os.getuid()}, but `{owned}` belongs to {owner}: rebuild the dev container")
# Trees are the host user's; git asks for that to be said.
for tree in sorted(path.parent for path in workspace.glob("*/.git")):
    known = subprocess.run(["git", "config", "--global", "--get-all", "safe.directory"], capture_output=True, text=True)
    if str(tree) not in known.stdout.splitlines():
        subprocess.run(["git", "config", "--global", "--add", "safe.directory", str(tree)], check=True)
failed = []
for module in modules:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed.append(f"`{module}` cannot be imported: {type(error).__name__}: {error}")
if failed:
    sys.exit("\n".join([*failed, "mend the source, then open or attach to the container again"]))
done.parent.mkdir(parents=True, exist_ok=True)
done.write_text(wanted)
print(f"ready: {workspace}")
