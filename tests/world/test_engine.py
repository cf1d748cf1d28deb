"""Run by `baibox ci` as a component's test: what tests find in the place of an engine."""
import json
import os
import pathlib
import socket
import subprocess
import urllib.request

import pytest

COMPOSE = """
services:
  second:
    image: built:here
    build: {context: ., dockerfile: made.dockerfile}
    environment: ["PORT=${PORT:-7002}"]
    depends_on: [first]
    network_mode: host
  first:
    image: redis:6-alpine
    command: redis-server --port 7001
    network_mode: host
"""
BUILT = "FROM redis:6-alpine\nCOPY made.conf /etc/made.conf\nCMD sed -i s/PORT/${PORT}/ /etc/made.conf; redis-server /etc/made.conf\n"


def docker(*words):
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def refused(*words):
    done = subprocess.run(["docker", *words], capture_output=True, text=True)
    assert done.returncode != 0, done.stdout
    return done.stderr


def ping(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as there:
        there.settimeout(1)
        there.sendall(b"PING\r\n")
        return there.recv(100)


def until_it_answers(port):
    for _ in range(600):
        try:
            assert ping(port) == b"+PONG\r\n"
            return
        except OSError:
            continue
    raise AssertionError(f"nothing answers at {port}")


def post(path, body):
    place = os.environ["DOCKER_HOST"].replace("tcp:", "http:")
    request = urllib.request.Request(place + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as said:
        urllib.request.urlopen(request)
    return said.value.code, json.loads(said.value.read())["message"]


def test_a_container_is_published_here_and_stops_and_goes():
    made = docker("run", "-d", "--name", "one", "-p", "9379:6379", "redis:6-alpine")
    until_it_answers(9379)
    assert json.loads(docker("inspect", "one"))[0]["NetworkSettings"]["Ports"]["6379/tcp"][0]["HostPort"] == "9379"
    docker("pause", made)
    with pytest.raises(socket.timeout):
        ping(9379)
    docker("unpause", made)
    until_it_answers(9379)
    docker("kill", made)
    with pytest.raises(ConnectionRefusedError):
        ping(9379)
    docker("start", made)
    until_it_answers(9379)
    docker("run", "-d", "--name", "two", "-P", "redis:5")
    port = json.loads(docker("inspect", "two"))[0]["NetworkSettings"]["Ports"]["6379/tcp"][0]["HostPort"]
    until_it_answers(int(port))
    docker("rm", "-f", made, "two")
    assert "No such container" in refused("inspect", made)


def test_a_graph_is_built_and_runs_in_the_network_of_the_tests(tmp_path):
    file = tmp_path / "graph.yml"
    file.write_text(COMPOSE)
    (tmp_path / "made.dockerfile").write_text(BUILT)
    (tmp_path / "made.conf").write_text("port PORT\n")
    words = ["compose", "-p", "a.b", "-f", str(file)]
    docker(*words, "up", "-d", "--build")
    until_it_answers(7001)
    until_it_answers(7002)
    found = json.loads(docker(*words, "ps", "--format", "json"))
    assert sorted(one["Name"] for one in found) == ["a.b-first-1", "a.b-second-1"]
    docker(*words, "down")
    assert json.loads(docker(*words, "ps", "--format", "json")) == []
    file.write_text("services: {one: {image: redis, privileged: true}}")
    assert "does not know `privileged` of `one`" in refused(*words, "up", "-d")


def test_what_is_not_of_the_tests_is_not_there():
    neighbour = f"{os.environ['BAIBOX_ENVIRONMENT']}-etcd-1"
    for verb in ("inspect", "stop", "rm"):
        assert "No such container" in refused(verb, neighbour)
    assert "stands in for `debian`" in refused("run", "-d", "debian")
    create = lambda host: post("/containers/create", {"Image": "redis", "HostConfig": host})
    for host in ({"Privileged": True}, {"Binds": ["/:/host"]}, {"NetworkMode": "container:x"}, {"PidMode": "host"}):
        assert create(host)[0] == 403, host
    assert post("/v1.41/swarm/init", {})[0] == 403
    assert not pathlib.Path("/var/run/docker.sock").exists()


def test_what_is_left_goes_with_the_environment():
    docker("run", "-d", "redis")
