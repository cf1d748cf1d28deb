"""The one place through which the agent speaks to the engine.

Loaded at the start of the agent's Python (`sitecustomize.py`). It wraps aiodocker's single request
method, so that on an engine which several environments share

* what the agent creates carries the environment's label,
* the agent sees only containers with that label (it removes sessions that it does
  not know, which would be those of its neighbours),
* resource limits that the engine refuses are lowered to what it grants, and log
  drivers that it lacks are its default,
* variables of a mock plug-in join those of the session,
* volumes with fixed names are those of this environment,
* folders that the agent hands on to its containers are named as the engine's host
  knows them, which may be elsewhere than where the agent sees them.

The few things for which the agent starts a `docker` program go to `baibox_docker.py`,
since its image has no such program.
"""
import asyncio
import json
import os
import pathlib
import socket
import sys

LABEL = "ai.baibox.environment"
ENVIRONMENT = os.environ.get("BAIBOX_ENVIRONMENT", "")
ULIMITS = json.loads(os.environ.get("BAIBOX_ULIMITS") or "{}")
# Fixed name of the agent → this environment's.
RENAMED = json.loads(os.environ.get("BAIBOX_RENAMED") or "{}")
# Image that was pulled by digest → the name by which the agent asks for it.
TAGS = json.loads(os.environ.get("BAIBOX_TAGS") or "{}")
CREATE = ("containers/create", "networks/create", "volumes/create")
# What other cures change in what is created.
ADJUSTED = []
DOCKER = str(pathlib.Path(__file__).with_name("baibox_docker.py"))


def renamed(value):
    """The value with this environment's names in every string of it."""
    if isinstance(value, dict):
        return {name: renamed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner) for inner in value]
    if isinstance(value, str):
        for fixed, own in RENAMED.items():
            value = value.replace(fixed, own)
    return value


def clamp(config):
    limits = (config.get("HostConfig") or {}).get("Ulimits") or []
    for limit in limits:
        granted = ULIMITS.get(limit.get("Name"))
        if granted is None:
            continue
        for field in ("Soft", "Hard"):
            wanted = limit.get(field, 0)
            if wanted < 0 or wanted > granted:
                limit[field] = granted
    # Once one is named, Podman raises those that are not.
    for name in ULIMITS.keys() - {limit.get("Name") for limit in limits} if limits else ():
        limits.append({"Name": name, "Soft": ULIMITS[name], "Hard": ULIMITS[name]})


def joined(config):
    """Keeps the session's variables where a mock plug-in gives its own as `env`, which the engine reads as `Env` too."""
    if more := config.pop("env", None):
        config["Env"] = [*(config.get("Env") or []), *more]


def loggable(config, drivers):
    """Keeps a log driver that the engine has; Podman has others than Docker."""
    host = config.get("HostConfig") or {}
    if (host.get("LogConfig") or {}).get("Type") not in drivers:
        host.pop("LogConfig", None)


def outside(path, mounts):
    """The path as the engine's host knows it, by this container's own mounts."""
    # The innermost mount is the one that is seen.
    for inner in sorted(mounts, key=len, reverse=True):
        if path == inner or path.startswith(inner.rstrip("/") + "/"):
            return mounts[inner] + path[len(inner.rstrip("/")):]
    return path


def relocate(config, mounts):
    host = config.get("HostConfig") or {}
    for number, bind in enumerate(host.get("Binds") or []):
        source, colon, rest = bind.partition(":")
        host["Binds"][number] = outside(source, mounts) + colon + rest
    for mount in host.get("Mounts") or []:
        if mount.get("Type") == "bind":
            mount["Source"] = outside(mount["Source"], mounts)


def gateway():
    """Address of the engine's host on this network: compute containers publish their ports there."""
    for line in pathlib.Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, via, *_ = line.split()
        if destination == "00000000":
            return socket.inet_ntoa(bytes.fromhex(via)[::-1])
    sys.exit("this container has no default route: the address of the engine's host is not known")


def filtered(params, name, value):
    """The parameters of a list with one more filter; the engine joins all of them by and."""
    params = dict(params or {})
    filters = params.get("filters") or {}
    if isinstance(filters, str):
        filters = json.loads(filters)
    lists = {}
    for key, wanted in filters.items():
        # The engine's own spelling of a set is a mapping to booleans.
        lists[key] = [wanted] if isinstance(wanted, str) else [one for one in wanted if not isinstance(wanted, dict) or wanted[one]]
    lists.setdefault(name, []).append(value)
    params["filters"] = json.dumps(lists)
    return params


def install():
    from aiodocker.docker import Docker

    ask = Docker._do_query
    known = {}

    async def mounts(docker, rest):
        """What is mounted here, by its place: asked once, since it cannot change."""
        if "mounts" not in known:
            answer = await ask(docker, f"containers/{socket.gethostname()}/json", "GET", params=None, data=None, **rest)
            try:
                found = (await answer.json())["Mounts"]
            finally:
                answer.release()
            known["mounts"] = {mount["Destination"]: mount["Source"] for mount in found}
        return known["mounts"]

    async def drivers(docker, rest):
        """Log drivers of the engine, asked once."""
        if "drivers" not in known:
            answer = await ask(docker, "info", "GET", params=None, data=None, **rest)
            try:
                known["drivers"] = (await answer.json())["Plugins"]["Log"]
            finally:
                answer.release()
        return known["drivers"]

    async def tag(docker, rest):
        """Names what was pulled by digest."""
        if "tagged" not in known:
            known["tagged"] = True
            for image, name in TAGS.items():
                repository, _, version = name.rpartition(":")
                answer = await ask(docker, f"images/{image}/tag", "POST", params={"repo": repository, "tag": version}, data=None, **rest)
                answer.release()

    async def asked(self, path, method, *, params=None, data=None, **rest):
        place = renamed(str(path))
        what = place.split("?")[0].strip("/")
        if method == "POST" and what in CREATE:
            # aiodocker hands some bodies over as objects, some as text, some encoded.
            config = renamed(json.loads(data) if isinstance(data, (bytes, str)) else data)
            config["Labels"] = {**(config.get("Labels") or {}), LABEL: ENVIRONMENT}
            clamp(config)
            joined(config)
            for adjust in ADJUSTED:
                adjust(config)
            loggable(config, await drivers(self, rest))
            relocate(config, await mounts(self, rest))
            data = json.dumps(config)
        elif method == "GET" and what in ("containers/json", "events"):
            params = filtered(params, "label", f"{LABEL}={ENVIRONMENT}")
            if what == "containers/json":
                # The agent looks for sessions, and inspects all that it gets, services too.
                params = filtered(params, "name", "kernel.")
        elif method == "GET" and what.endswith("/logs"):
            # The agent follows logs of containers that have ended; Podman does not see their end.
            params = {**params, "follow": 0}
        elif method == "GET" and what == "images/json":
            # The agent takes the first tag of each image, and newer engines give none for untagged ones.
            params = filtered(params, "dangling", "false")
        await tag(self, rest)
        path = place if isinstance(path, str) else type(path)(place)
        return await ask(self, path, method, params=params, data=data, **rest)

    Docker._do_query = asked

    spawn = asyncio.create_subprocess_exec

    async def spawned(program, *arguments, **rest):
        if program == "docker":
            # Isolated: without this module, which would only cost time there.
            program, arguments = sys.executable, ("-I", "-S", DOCKER, *arguments)
        elif program == "nvidia-docker":
            program, arguments = sys.executable, ("-I", "-S", DOCKER, "nvidia")
        return await spawn(program, *arguments, **rest)

    asyncio.create_subprocess_exec = spawned


if os.environ.get("BAIBOX_KERNEL_HOST") == "gateway":
    # The name changed with 21.09.
    os.environ["BACKEND_KERNEL_HOST_OVERRIDE"] = os.environ["BACKEND_BIND_HOST_OVERRIDE"] = gateway()
if ENVIRONMENT:
    install()
