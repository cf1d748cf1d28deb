"""A `docker` program, as far as the agent and upstream's tests need one.

The agent's image has none, and neither have the containers that tests run in.
"""
import argparse
import gzip
import http.client
import json
import os
import socket
import struct
import sys
import urllib.parse

HOST = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


class Refusal(Exception):
    """The engine said no: its status and its words."""

    def __init__(self, asked, status, text):
        super().__init__(f"the engine refused `{asked}` with {status}: {text.strip()}")
        self.status = status


class Engine(http.client.HTTPConnection):
    """One connection to the engine."""

    def __init__(self):
        self.place = urllib.parse.urlsplit(HOST)
        super().__init__(self.place.hostname or "localhost", self.place.port)

    def connect(self):
        if self.place.scheme == "unix":
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.connect(self.place.path)
        else:
            super().connect()

    def ask(self, method, path, body=None, kind="application/json"):
        try:
            self.request(method, path, body, {"Content-Type": kind}, encode_chunked=True)
        except OSError as error:
            sys.exit(f"no engine answers at {HOST}: {error.strerror}")
        answer = self.getresponse()
        if answer.status >= 400:
            raise Refusal(f"{method} {path}", answer.status, answer.read().decode("utf-8", "replace"))
        return answer


def value(method, path, body=None):
    text = Engine().ask(method, path, json.dumps(body) if body is not None else None).read()
    return json.loads(text) if text else None


def progress(answer):
    """Errors come inside the stream of the engine's answer."""
    for line in answer.read().decode().splitlines():
        if "error" in json.loads(line):
            sys.exit(json.loads(line)["error"])


def load(arguments):
    # Docker reads packed archives too, Podman does not.
    archive = sys.stdin.buffer
    if archive.peek(2)[:2] == b"\x1f\x8b":
        archive = gzip.open(archive)
    progress(Engine().ask("POST", "/images/load?quiet=1", archive, "application/x-tar"))


def show(stream):
    """What the engine answers as frames: channel, three zeros, length, bytes."""
    while len(head := stream.read(8)) == 8:
        channel, length = struct.unpack(">BxxxL", head)
        out = sys.stderr if channel == 2 else sys.stdout
        out.buffer.write(stream.read(length))
        out.flush()


def logs(names):
    for name in names:
        show(Engine().ask("GET", f"/containers/{name}/logs?stdout=1&stderr=1"))


def execute(arguments):
    container, *command = arguments
    config = {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
    made = value("POST", f"/containers/{container}/exec", config)["Id"]
    show(Engine().ask("POST", f"/exec/{made}/start", json.dumps({"Detach": False, "Tty": False})))
    sys.exit(value("GET", f"/exec/{made}/json")["ExitCode"])


def create(name, config):
    """A container, whose image is pulled first where it is not there; its ID."""
    path = f"/containers/create?{urllib.parse.urlencode({'name': name} if name else {})}"
    try:
        return value("POST", path, config)["Id"]
    except Refusal as refusal:
        if refusal.status != 404:
            raise
    progress(Engine().ask("POST", f"/images/create?{urllib.parse.urlencode({'fromImage': config['Image']})}"))
    return value("POST", path, config)["Id"]


def seconds(text):
    """`2s` as nanoseconds."""
    return int(float(text.removesuffix("s")) * 1_000_000_000)


def published(texts):
    """`[[ADDRESS:]PORT:]PORT` of each, as the engine takes them."""
    ports = {}
    for text in texts:
        here, _, there = text.rpartition(":")
        ports[f"{there}/tcp"] = [{"HostPort": here.rpartition(":")[2]}]
    return ports


def run(arguments):
    parser = argparse.ArgumentParser("docker run")
    parser.add_argument("-d", "--detach", action="store_true", required=True)
    parser.add_argument("--name")
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-p", "--publish", action="append", default=[], metavar="[HOST:]PORT")
    parser.add_argument("-P", "--publish-all", action="store_true")
    parser.add_argument("-u", "--user")
    parser.add_argument("--health-cmd")
    parser.add_argument("--health-interval", type=seconds)
    parser.add_argument("--health-start-period", type=seconds)
    parser.add_argument("--rm", action="store_true")
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    wanted = parser.parse_args(arguments)
    ports = published(wanted.publish)
    host = {"AutoRemove": wanted.rm, "PortBindings": ports, "PublishAllPorts": wanted.publish_all}
    config = {"Image": wanted.image, "Env": wanted.env, "HostConfig": host, "ExposedPorts": {port: {} for port in ports}}
    if wanted.command:
        config["Cmd"] = wanted.command
    if wanted.user:
        config["User"] = wanted.user
    if wanted.health_cmd:
        pace = {"Interval": wanted.health_interval, "StartPeriod": wanted.health_start_period}
        config["Healthcheck"] = {"Test": ["CMD-SHELL", wanted.health_cmd], **pace}
    made = create(wanted.name, config)
    value("POST", f"/containers/{made}/start")
    print(made)


def of_each(method, path):
    def do(names):
        for name in names:
            value(method, path.format(name))
            print(name)

    return do


def remove(arguments):
    force = any(word in ("-f", "--force") for word in arguments)
    names = [word for word in arguments if not word.startswith("-")]
    of_each("DELETE", "/containers/{}?v=1&force=" + ("1" if force else "0"))(names)


def inspect(names):
    found = []
    try:
        for name in names:
            found.append(value("GET", f"/containers/{name}/json"))
    finally:
        print(json.dumps(found, indent=4))


def compose(arguments):
    import baibox_compose

    baibox_compose.main(arguments)


def version(_):
    # As the program prints it for `--format '{{json .}}'`, which is how CUDA plug-ins ask.
    print(json.dumps({"Server": value("GET", "/version")}))


def nvidia(arguments):
    """`nvidia-docker version`: NVIDIA's toolkit has that program no more, and plug-ins ask it for its version."""
    known = "nvidia" in value("GET", "/info")["Runtimes"]
    # From 2.0 on, GPUs are asked for at the engine, as it is done here; without a version, plug-ins stay off.
    print("NVIDIA Docker: 2.0.0" if known else "NVIDIA Docker: the engine has no such runtime")
    version(arguments)


VERBS = {
    "compose": compose,
    "exec": execute,
    "inspect": inspect,
    "load": load,
    "logs": logs,
    "nvidia": nvidia,
    "rm": remove,
    "run": run,
    "version": version,
    **{verb: of_each("POST", "/containers/{}/" + verb) for verb in ("kill", "pause", "restart", "start", "stop", "unpause")},
}

if __name__ == "__main__":
    # The module that it imports calls this one by its name.
    sys.modules["baibox_docker"] = sys.modules["__main__"]
    verb, *rest = sys.argv[1:] or [""]
    if verb not in VERBS:
        sys.exit(f"this image has no Docker client, and baibox has no `docker {verb}` in its place")
    try:
        VERBS[verb](rest)
    except Refusal as refusal:
        sys.exit(str(refusal))
