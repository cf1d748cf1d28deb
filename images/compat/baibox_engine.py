"""The one place through which the agent speaks to the engine.

Loaded in the agent's image by a `.pth` line. It wraps aiodocker's single request
method, so that on an engine which several environments share

* what the agent creates carries the environment's label,
* the agent sees only containers with that label (it removes sessions that it does
  not know, which would be those of its neighbours),
* resource limits that the engine refuses are lowered to what it grants,
* paths and volumes with fixed names are those of this environment.
"""
import json
import os

LABEL = "ai.baibox.environment"
ENVIRONMENT = os.environ.get("BAIBOX_ENVIRONMENT", "")
ULIMITS = json.loads(os.environ.get("BAIBOX_ULIMITS") or "{}")
# Fixed name or path in the agent → this environment's.
RENAMED = json.loads(os.environ.get("BAIBOX_RENAMED") or "{}")


def renamed(text):
    for fixed, own in RENAMED.items():
        text = text.replace(fixed, own)
    return text


def clamp(config):
    for limit in (config.get("HostConfig") or {}).get("Ulimits") or []:
        granted = ULIMITS.get(limit.get("Name"))
        if granted is None:
            continue
        for field in ("Soft", "Hard"):
            if limit.get(field, 0) == -1 or limit.get(field, 0) > granted:
                limit[field] = granted


def of_this_environment(params):
    params = dict(params or {})
    filters = params.get("filters") or {}
    if isinstance(filters, str):
        filters = json.loads(filters)
    filters = {name: list(values) if not isinstance(values, dict) else [key for key, on in values.items() if on]
               for name, values in filters.items()}
    filters.setdefault("label", []).append(f"{LABEL}={ENVIRONMENT}")
    params["filters"] = json.dumps(filters)
    return params


def install():
    from aiodocker.docker import Docker

    ask = Docker._do_query

    async def asked(self, path, method, *, params=None, data=None, **rest):
        place = renamed(str(path))
        what = place.split("?")[0].strip("/")
        if method == "POST" and what in ("containers/create", "networks/create", "volumes/create"):
            # aiodocker hands some bodies over as objects, some as text, some encoded.
            text = data.decode() if isinstance(data, bytes) else data if isinstance(data, str) else json.dumps(data)
            config = json.loads(renamed(text))
            config["Labels"] = {**(config.get("Labels") or {}), LABEL: ENVIRONMENT}
            clamp(config)
            data = json.dumps(config)
        elif method == "GET" and what in ("containers/json", "events"):
            params = of_this_environment(params)
        path = place if isinstance(path, str) else type(path)(place)
        return await ask(self, path, method, params=params, data=data, **rest)

    Docker._do_query = asked


if ENVIRONMENT:
    install()
