#!/usr/bin/env python3
"""Writes the stack of an environment as a plain dev container: a Dockerfile with apt-get and pip.

    benches/plain.py FOLDER ID BASE

FOLDER and ID are those of an environment, which gives trees, configurations, pins and compose file; BASE
is an image of Debian 11. The halfstack keeps its images, as others take them from a registry. What is
written: `.devcontainer/plain/devcontainer.json`, `.baibox/ID/plain.yaml`, `.baibox/ID/plain/`, `.dockerignore`.
"""
import json
import pathlib
import re
import subprocess
import sys
import tomllib

folder, name, base = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
state = folder / ".baibox" / name
plain = state / "plain"
plain.mkdir(exist_ok=True)
graph = (state / "compose.yaml").read_text()
pins = tomllib.loads((state / "lock.toml").read_text())
pins = pins.get("python", pins)
links = {
    "manager": ["manager", "common"],
    "agent": ["agent", "common"],
    "storage-proxy": ["storage-proxy", "common"],
    "webserver": ["webserver", "client"],
    "workspace": ["client"],
}

lines = [
    f"FROM {base} AS base",
    "ENV PATH=/opt/venv/bin:$PATH PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1",
    "COPY .baibox/%s/plain/ca-certificates.crt /tmp/" % name,
    "RUN echo 'Acquire::Retries 9;' > /etc/apt/apt.conf.d/retries && apt-get update"
    " && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends build-essential"
    " ca-certificates curl git iproute2 less nano openssh-client procps python3-dev python3-venv"
    " && rm -rf /var/lib/apt/lists/* && cp /tmp/ca-certificates.crt /etc/ssl/certs/",
    "RUN python3 -m venv /opt/venv && useradd --create-home --uid 1000 --shell /bin/bash dev",
    "RUN pip install " + " ".join(pin.replace(" ", "==") for pin in pins["builders"]),
]
for image, trees in links.items():
    listed = "".join(f"{pin.replace(' ', '==')}\n" for pin in pins["environments"][image])
    (plain / f"{image}.txt").write_text(listed)
    lines += [f"FROM base AS {image}", f"COPY .baibox/{name}/plain/{image}.txt /tmp/requirements.txt"]
    lines += ["RUN pip install --no-deps --requirement /tmp/requirements.txt"]
    lines += [f"COPY {tree} {folder}/{tree}" for tree in trees]
    editable = " ".join(f"--editable {folder}/{tree}" for tree in trees)
    lines += [f"RUN pip install --no-deps --no-build-isolation {editable}"]
    # What is run is the same.
    reference = re.search(rf'"(baibox\.local/[^/]+/{image}:[^"]*)"', graph).group(1)
    shown = subprocess.run(["docker", "image", "inspect", reference], check=True, capture_output=True).stdout
    kept = json.loads(shown)[0]["Config"]
    lines += [f"ENV {variable}" for variable in kept["Env"]] + [f"CMD {json.dumps(kept['Cmd'])}"]
(plain / "Dockerfile").write_text("\n".join(lines) + "\n")
(plain / "ca-certificates.crt").write_bytes(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
trees = sorted({tree for several in links.values() for tree in several})
(folder / ".dockerignore").write_text("".join(["*\n", f"!.baibox/{name}/plain\n", *(f"!{tree}\n" for tree in trees)]))


def built(found):
    image = found.group(1)
    if image not in links:
        return found.group(0)
    return f"image: {name}-plain-{image}\n    build: {{context: {json.dumps(str(folder))}, dockerfile: .baibox/{name}/plain/Dockerfile, target: {image}}}"


graph = re.sub(r'image: "baibox\.local/[^/]+/([a-z-]+):[^"]*"', built, graph)
# Dev container tools know containers by these, and would find those of the environment.
graph = re.sub(r"^ +devcontainer\.[a-z_]+: .*\n", "", graph, flags=re.M)
graph = graph.replace(f'ai.baibox.environment: "{name}"', f'ai.baibox.environment: "{name}-plain"')
graph = graph.replace(f'"{name}_krunner"', f'"{name}-plain_krunner"')
(state / "plain.yaml").write_text(f"name: {name}-plain\n{graph}")
configuration = json.loads((folder / ".devcontainer/devcontainer.json").read_text())
configuration["dockerComposeFile"] = [f"../../.baibox/{name}/plain.yaml"]
configuration.pop("initializeCommand")
# The tool builds what it is told to run; here all is to be built.
configuration.pop("runServices")
(folder / ".devcontainer/plain").mkdir(exist_ok=True)
(folder / ".devcontainer/plain/devcontainer.json").write_text(json.dumps(configuration, indent=1))
