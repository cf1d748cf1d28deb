"""The one place through which the agent speaks to the engine.

Loaded at the start of the agent's Python (`sitecustomize.py`). It wraps aiodocker's single request
method, so that on an engine which several environments share

* what the agent creates carries the environment's label,
* the agent sees only containers with that label (it removes sessions that it does
  not know, which would be those of its neighbours),
* resource limits that the engine refuses are lowered to what it grants,
* paths and volumes with fixed names are those of this environment.

The few things for which the agent starts a `docker` program go to `baibox_docker.py`,
since its image has no such program.
"""
import asyncio
import json
import os
import pathlib
import sys

LABEL = "ai.baibox.environment"
ENVIRONMENT = os.environ.get("BAIBOX_ENVIRONMENT", "")
ULIMITS = json.loads(os.environ.get("BAIBOX_ULIMITS") or "{}")
# Fixed name or path in the agent → this environment's.
RENAMED = json.loads(os.environ.get("BAIBOX_RENAMED") or "{}")
CREATE = ("containers/create", "networks/create", "volumes/create")
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
    for limit in (config.get("HostConfig") or {}).get("Ulimits") or []:
        granted = ULIMITS.get(limit.get("Name"))
        if granted is None:
            continue
        for field in ("Soft", "Hard"):
            wanted = limit.get(field, 0)
            if wanted < 0 or wanted > granted:
                limit[field] = granted


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

    async def asked(self, path, method, *, params=None, data=None, **rest):
        place = renamed(str(path))
        what = place.split("?")[0].strip("/")
        if method == "POST" and what in CREATE:
            # aiodocker hands some bodies over as objects, some as text, some encoded.
            config = renamed(json.loads(data) if isinstance(data, (bytes, str)) else data)
            config["Labels"] = {**(config.get("Labels") or {}), LABEL: ENVIRONMENT}
            clamp(config)
            data = json.dumps(config)
        elif method == "GET" and what in ("containers/json", "events"):
            params = filtered(params, "label", f"{LABEL}={ENVIRONMENT}")
        elif method == "GET" and what == "images/json":
            # The agent takes the first tag of each image, and newer engines give none for untagged ones.
            params = filtered(params, "dangling", "false")
        path = place if isinstance(path, str) else type(path)(place)
        return await ask(self, path, method, params=params, data=data, **rest)

    Docker._do_query = asked

    spawn = asyncio.create_subprocess_exec

    async def spawned(program, *arguments, **rest):
        if program == "docker":
            # Isolated: without this module, which would only cost time there.
            program, arguments = sys.executable, ("-I", "-S", DOCKER, *arguments)
        return await spawn(program, *arguments, **rest)

    asyncio.create_subprocess_exec = spawned


if ENVIRONMENT:
    install()
