"""What tests that start containers find in the place of an engine, in a throw-away environment.

It shares the network of the container that the tests run in, and speaks the engine's API at
127.0.0.1:2375 there. What tests make by it

* belongs to the environment, and goes with it;
* is all that they see: no other container of the engine can be named;
* gets an image of the release in the place of one that a registry would have;
* has the tests' own network where it asks for the host's, and is published at their 127.0.0.1;
* mounts only what is mounted where the tests run, and gets no privilege.

That keeps test suites from accidents. It is no wall against code that means harm.
"""
import asyncio
import contextlib
import io
import json
import os
import re
import tarfile

from aiohttp import ClientSession, ClientTimeout, UnixConnector, web
from forward import join

ENVIRONMENT = os.environ["BAIBOX_ENVIRONMENT"]
# The service that the tests run in.
SERVICE = os.environ["BAIBOX_SERVICE"]
# Repository that tests name → what stands in for it: `StandIn` in `src/release/mod.rs`.
IMAGES = json.loads(os.environ["BAIBOX_TEST_IMAGES"])
NETWORK = f"{ENVIRONMENT}_default"
OWNED = {"ai.baibox.environment": ENVIRONMENT}
MADE = {**OWNED, "ai.baibox.tests": SERVICE}
# What of a container's `HostConfig` tests may ask for.
GRANTED = {
    "AutoRemove", "Binds", "Init", "Memory", "Mounts", "NetworkMode", "PortBindings", "PublishAllPorts", "RestartPolicy", "Tmpfs",
}


class Refused(Exception):
    """What the tests asked for is not given: a status of HTTP, and why."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Published:
    """Ports of one container, which are open here while it runs."""

    def __init__(self, wanted):
        self.wanted = wanted  # port of the container → port here, or 0 for any
        self.servers = {}
        self.address = None

    async def open(self):
        for port, here in self.wanted.items():
            joined = self.joined(int(port.partition("/")[0]))
            server = await asyncio.start_server(joined, "127.0.0.1", here)
            self.servers[port] = [server]
            # `localhost` is both, where there is the newer kind of address.
            with contextlib.suppress(OSError):
                self.servers[port].append(await asyncio.start_server(joined, "::1", number(server)))

    def close(self):
        for server in sum(self.servers.values(), []):
            server.close()
        self.servers = {}

    def joined(self, there):
        return lambda reader, writer: join(reader, writer, self.address, there)

    def shown(self):
        return {port: [{"HostIp": "127.0.0.1", "HostPort": str(number(servers[0]))}] for port, servers in self.servers.items()}


def number(server):
    return server.sockets[0].getsockname()[1]


class Gateway:
    def __init__(self, engine):
        self.engine = engine
        self.published = {}  # ID of a container → its ports
        self.built = set()
        self.commands = set()  # IDs of what tests run in their containers

    # What passes: method, path, and who answers.
    def routes(self):
        name = r"([^/]+)"
        return [
            ("GET", r"_ping|version|info|swarm", self.plain),
            ("GET", r"containers/json|events", self.listed),
            ("GET", r"images/(.+)/json", self.image),
            ("POST", r"images/create", self.pull),
            ("POST", r"images/load", self.plain),
            ("POST", r"build", self.build),
            ("POST", r"containers/create", self.create),
            ("GET", rf"containers/{name}/json", self.inspect),
            ("GET", rf"containers/{name}/(?:logs|stats|top)", self.of_container),
            ("POST", rf"containers/{name}/(?:pause|unpause|wait)", self.of_container),
            ("POST", rf"containers/{name}/exec", self.command),
            ("POST", rf"containers/{name}/(?:start|restart)", self.start),
            ("POST", rf"containers/{name}/(?:stop|kill)", self.end),
            ("DELETE", rf"containers/{name}", self.end),
            ("POST|GET", rf"exec/{name}/(?:start|resize|json)", self.of_command),
        ]

    async def answer(self, request):
        path = re.sub(r"^/(v[0-9.]+/)?", "", request.path)
        try:
            for method, pattern, answer in self.routes():
                if request.method in method.split("|") and (match := re.fullmatch(pattern, path)):
                    return await answer(request, path, *match.groups())
            raise Refused(403, f"tests may not ask the engine for `{request.method} /{path}`")
        except Refused as refused:
            return web.json_response({"message": str(refused)}, status=refused.status)

    async def ask(self, method, path, **rest):
        async with self.engine.request(method, f"http://engine/{path}", **rest) as answer:
            text = await answer.text()
            if answer.status >= 400:
                with contextlib.suppress(ValueError, KeyError):
                    text = json.loads(text)["message"]
                raise Refused(answer.status, text)
            return json.loads(text) if text else {}

    async def plain(self, request, path, params=None, data=None):
        params = request.query if params is None else params
        body = request.content if data is None and request.can_read_body else data
        kind = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        async with self.engine.request(request.method, f"http://engine/{path}", params=params, data=body, headers=kind) as there:
            headers = {name: there.headers[name] for name in ("Content-Type", "Api-Version", "Ostype") if name in there.headers}
            status = there.status
            if request.headers.get("Upgrade") == "tcp" and status == 200:
                # Whoever asks so reads the bytes as they are from here on, until the end.
                status, headers = 101, {**headers, "Connection": "Upgrade", "Upgrade": "tcp"}
            here = web.StreamResponse(status=status, headers=headers)
            await here.prepare(request)
            async for chunk in there.content.iter_any():
                await here.write(chunk)
            await here.write_eof()
            if status == 101:
                here.force_close()
            return here

    async def listed(self, request, path):
        filters = json.loads(request.query.get("filters", "{}"))
        labels = filters.get("label", [])
        filters["label"] = [*labels, *(f"{name}={value}" for name, value in MADE.items())]
        return await self.plain(request, path, params={**request.query, "filters": json.dumps(filters)})

    # Images

    def stand_in(self, name):
        """The image of the release for it, if there is one."""
        repository = re.sub(r"(:[^/:]*)?(@.*)?$", "", name)
        return IMAGES.get(re.sub(r"^((index\.)?docker\.io/)?(library/)?", "", repository))

    def reference(self, name):
        if stand_in := self.stand_in(name):
            return stand_in["image"]
        return f"{ENVIRONMENT}/{name}" if name in self.built else name

    async def image(self, request, path, name):
        return await self.plain(request, f"images/{self.reference(name)}/json")

    async def pull(self, request, path):
        if not self.stand_in(request.query.get("fromImage", "")):
            raise Refused(404, f"no image of the release stands in for `{request.query.get('fromImage')}`, and no registry is asked")
        return web.json_response({"status": "an image of the release stands in"})

    async def build(self, request, path):
        name, file = request.query["t"], request.query.get("dockerfile", "Dockerfile")
        context = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(await request.read())) as given, tarfile.open(fileobj=context, mode="w") as taken:
            for member in given:
                content = given.extractfile(member)
                if os.path.normpath(member.name) == os.path.normpath(file):
                    text = re.sub(r"(?mi)^FROM\s+(\S+).*$", self.base, content.read().decode()).encode()
                    member.size, content = len(text), io.BytesIO(text)
                taken.addfile(member, content)
        self.built.add(name)
        params = {"t": f"{ENVIRONMENT}/{name}", "dockerfile": file, "labels": json.dumps(OWNED), "rm": "1", "forcerm": "1"}
        return await self.plain(request, path, params=params, data=context.getvalue())

    def base(self, line):
        if not (stand_in := self.stand_in(line[1])):
            return line[0]
        return f"{line[0].replace(line[1], stand_in['image'])}\nUSER 0:0\nWORKDIR /data"

    # Containers

    async def own(self, name):
        details = await self.ask("GET", f"containers/{name}/json")
        labels = details["Config"]["Labels"] or {}
        if any(labels.get(label) != value for label, value in MADE.items()):
            raise Refused(404, f"No such container: {name}")
        return details

    async def of_container(self, request, path, name):
        await self.own(name)
        return await self.plain(request, path)

    async def inspect(self, request, path, name):
        details = await self.own(name)
        if published := self.published.get(details["Id"]):
            details["NetworkSettings"]["Ports"] = published.shown()
        return web.json_response(details)

    async def create(self, request, path):
        config = await request.json()
        host = config.setdefault("HostConfig", {})
        refused = sorted(name for name, value in host.items() if value and name not in GRANTED)
        if refused:
            raise Refused(403, f"tests may not ask for {', '.join(refused)} of a container")
        stand_in = self.stand_in(config["Image"])
        if stand_in:
            # As images of that name are: they run as root, where they may write.
            config = {"User": "0:0", "WorkingDir": "/data", **{name: value for name, value in config.items() if value}}
            self.adapt(config, stand_in)
        config["Image"] = self.reference(config["Image"])
        config["Labels"] = {**(config.get("Labels") or {}), **MADE}
        wanted = {port: int(places[0].get("HostPort") or 0) for port, places in (host.pop("PortBindings", None) or {}).items()}
        if host.pop("PublishAllPorts", False):
            for port in [*(config.get("ExposedPorts") or {}), *(stand_in or {}).get("ports", [])]:
                wanted.setdefault(port, 0)
        if other := [port for port in wanted if not port.endswith("/tcp")]:
            raise Refused(400, f"only TCP ports are published, not {other[0]}")
        around = await self.around()
        self.relocate(host, {mount["Destination"]: mount["Source"] for mount in around["Mounts"]})
        network = host.get("NetworkMode") or "default"
        networks = {"default": NETWORK, "bridge": NETWORK, "none": "none", "host": f"container:{around['Id']}"}
        if network not in networks:
            raise Refused(403, f"tests may not ask for the network `{network}`")
        host["NetworkMode"] = networks[network]
        asked = (config.pop("NetworkingConfig", None) or {}).get("EndpointsConfig") or {}
        if names := sum((place.get("Aliases") or [] for place in asked.values() if place), []):
            config["NetworkingConfig"] = {"EndpointsConfig": {NETWORK: {"Aliases": names}}}
        made = await self.ask("POST", path, params=request.query, json=config)
        if wanted:
            self.published[made["Id"]] = Published(wanted)
        return web.json_response(made, status=201)

    def adapt(self, config, stand_in):
        """What is asked of the image that is stood in for, as the release's own takes it."""
        command = config.get("Cmd")
        if command and (program := stand_in.get("program")):
            config["Cmd"] = [program, *command[1:]]
        if not command and (script := stand_in.get("script")):
            config["Cmd"] = ["/bin/sh", script]
            config["HostConfig"].setdefault("Binds", []).append(f"{script}:{script}:ro")
        if path := stand_in.get("path"):
            config["Env"] = [*config.get("Env", []), f"PATH={path}:/usr/bin:/bin"]
        if config.get("Healthcheck") and (health := stand_in.get("health")):
            config["Healthcheck"]["Test"] = ["CMD", *health]

    async def around(self):
        """The container that the tests run in."""
        labels = [f"{name}={value}" for name, value in {**OWNED, "com.docker.compose.service": SERVICE}.items()]
        found = await self.ask("GET", "containers/json", params={"filters": json.dumps({"label": labels})})
        return await self.ask("GET", f"containers/{found[0]['Id']}/json")

    def relocate(self, host, mounts):
        """Names folders as the engine's host knows them."""
        def outside(path):
            for inner in sorted(mounts, key=len, reverse=True):
                if os.path.commonpath([inner, path]) == inner:
                    return os.path.normpath(os.path.join(mounts[inner], os.path.relpath(path, inner)))
            raise Refused(403, f"tests may mount what is mounted where they run, and `{path}` is not")

        for mount in host.get("Mounts") or []:
            if mount.get("Type") != "bind":
                raise Refused(403, f"tests may not mount a {mount.get('Type')}")
            mount["Source"] = outside(os.path.normpath(mount["Source"]))
        for place, bind in enumerate(host.get("Binds") or []):
            source, _, rest = bind.partition(":")
            if not os.path.isabs(source):
                raise Refused(403, "tests may not mount a volume")
            host["Binds"][place] = f"{outside(os.path.normpath(source))}:{rest}"

    async def start(self, request, path, name):
        details = await self.own(name)
        published = self.published.get(details["Id"])
        if published:
            published.close()
            try:
                await published.open()
            except OSError as error:
                published.close()
                raise Refused(500, f"a port of `{name}` cannot be published: {error.strerror}")
        try:
            await self.ask("POST", path, params=request.query)
        except Refused:
            if published:
                published.close()
            raise
        if published:
            published.address = (await self.own(name))["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        return web.Response(status=204)

    async def end(self, request, path, name):
        details = await self.own(name)
        await self.ask(request.method, path, params=request.query)
        if published := self.published.get(details["Id"]):
            published.close()
        return web.Response(status=204)

    async def command(self, request, path, name):
        await self.own(name)
        made = await self.ask("POST", path, json=await request.json())
        self.commands.add(made["Id"])
        return web.json_response(made, status=201)

    async def forget(self, _):
        """Removes what tests left."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in MADE.items()]})
        for left in await self.ask("GET", "containers/json", params={"all": "1", "filters": filters}):
            await self.ask("DELETE", f"containers/{left['Id']}", params={"force": "1", "v": "1"})

    async def of_command(self, request, path, name):
        if name not in self.commands:
            raise Refused(404, f"No such exec instance: {name}")
        return await self.plain(request, path)


async def served():
    engine = ClientSession(connector=UnixConnector("/var/run/docker.sock", limit=0), timeout=ClientTimeout(total=None))
    gateway = Gateway(engine)
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", gateway.answer)
    application.on_shutdown.append(gateway.forget)
    return application


web.run_app(served(), host="127.0.0.1", port=2375, print=None)
