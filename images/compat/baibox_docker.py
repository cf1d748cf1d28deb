"""What the agent asks of a `docker` program: `load < archive` and `exec CONTAINER COMMAND…`."""
import http.client
import json
import socket
import struct
import sys

SOCKET = "/var/run/docker.sock"


class Engine(http.client.HTTPConnection):
    """One connection to the engine's socket."""

    def __init__(self):
        super().__init__("localhost")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(SOCKET)

    def ask(self, method, path, body=None, kind="application/json"):
        self.request(method, path, body, {"Content-Type": kind}, encode_chunked=True)
        answer = self.getresponse()
        if answer.status >= 400:
            text = answer.read().decode("utf-8", "replace")
            sys.exit(f"the engine refused `{method} {path}` with {answer.status}: {text.strip()}")
        return answer


def value(method, path, body=None):
    return json.loads(Engine().ask(method, path, json.dumps(body) if body is not None else None).read())


def load():
    # The engine reads packed archives too. Errors come inside the stream of its answer.
    answer = Engine().ask("POST", "/images/load?quiet=1", sys.stdin.buffer, "application/x-tar")
    for line in answer.read().decode().splitlines():
        if "error" in json.loads(line):
            sys.exit(json.loads(line)["error"])


def execute(container, *command):
    config = {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
    made = value("POST", f"/containers/{container}/exec", config)["Id"]
    # The engine answers as a plain stream of frames: channel, three zeros, length, bytes.
    stream = Engine().ask("POST", f"/exec/{made}/start", json.dumps({"Detach": False, "Tty": False}))
    while len(head := stream.read(8)) == 8:
        channel, length = struct.unpack(">BxxxL", head)
        out = sys.stderr if channel == 2 else sys.stdout
        out.buffer.write(stream.read(length))
        out.flush()
    sys.exit(value("GET", f"/exec/{made}/json")["ExitCode"])


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:] or [""]
    verbs = {"load": load, "exec": execute}
    if verb not in verbs:
        sys.exit(f"this image has no Docker client, and baibox has no `docker {verb}` in its place")
    verbs[verb](*arguments)
