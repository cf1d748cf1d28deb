"""`docker compose` as far as upstream's tests need it: `up`, `ps` and `down` of one file.

Its answers are those of the 2.0 that the tests were written for. What it does not know in
a file it refuses.
"""
import argparse
import io
import json
import os
import re
import shlex
import sys
import tarfile
import urllib.parse

import yaml
from baibox_docker import Engine, create, progress, published, value

KNOWN = {
    "build", "command", "depends_on", "environment", "hostname", "image", "network_mode", "networks", "ports", "user", "volumes",
}
VERSION = "2.0.0"
PROJECT = "ai.baibox.tests.project"
# Tests read the label of the real program.
PLACE = "com.docker.compose.service"


def filled(text):
    """The text with the environment's variables in it: `$NAME`, `${NAME}`, `${NAME:-default}`, `$$`."""
    def one(match):
        if match[0] == "$$":
            return "$"
        return os.environ.get(match["name"] or match["plain"]) or match["default"] or ""

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(:-(?P<default>[^}]*))?\}|\$(?P<plain>\w+)", one, text)


def read(path):
    with open(path, encoding="utf-8") as file:
        services = yaml.safe_load(filled(file.read()))["services"]
    for name, service in services.items():
        if strange := sorted(set(service) - KNOWN):
            sys.exit(f"{path}: baibox's `docker compose` does not know `{strange[0]}` of `{name}`")
    return services


def in_order(services):
    """Each service after those that it depends on."""
    done = []

    def add(name):
        for other in services[name].get("depends_on", []):
            if other not in done:
                add(other)
        if name not in done:
            done.append(name)

    for name in services:
        add(name)
    return done


def build(folder, image, how):
    how = {"context": how} if isinstance(how, str) else how
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(os.path.join(folder, how["context"]), arcname=".")
    query = urllib.parse.urlencode({"t": image, "dockerfile": how.get("dockerfile", "Dockerfile")})
    progress(Engine().ask("POST", f"/build?{query}", context.getvalue(), "application/x-tar"))


def up(project, path, services):
    for name in in_order(services):
        service = services[name]
        image = service.get("image", f"{project}_{name}")
        if how := service.get("build"):
            build(os.path.dirname(path), image, how)
        variables = service.get("environment", [])
        if isinstance(variables, dict):
            variables = [f"{variable}={content}" for variable, content in variables.items()]
        ports = published(service.get("ports", []))
        config = {
            "Image": image,
            "Env": variables,
            "Labels": {PROJECT: project, PLACE: name},
            "ExposedPorts": {port: {} for port in ports},
            "HostConfig": {
                "NetworkMode": service.get("network_mode", "default"),
                "PortBindings": ports,
                "Mounts": [
                    {"Type": mount["type"], "Source": mount["source"], "Target": mount["target"]}
                    for mount in service.get("volumes", [])
                ],
            },
        }
        if "network_mode" not in service:
            # Whatever networks a file names, it has the tests' one, where services find each other by these.
            names = [name, service["hostname"]] if "hostname" in service else [name]
            config["NetworkingConfig"] = {"EndpointsConfig": {"default": {"Aliases": names}}}
        for place, key in (("Hostname", "hostname"), ("User", "user")):
            if key in service:
                config[place] = str(service[key])
        if command := service.get("command"):
            config["Cmd"] = shlex.split(command) if isinstance(command, str) else command
        value("POST", f"/containers/{create(f'{project}-{name}-1', config)}/start")


def containers(project, all):
    filters = json.dumps({"label": [f"{PROJECT}={project}"]})
    return value("GET", f"/containers/json?{urllib.parse.urlencode({'filters': filters, 'all': int(all)})}")


def ps(project, all):
    found = containers(project, all)
    print(json.dumps([
        {
            "ID": container["Id"],
            "Name": container["Names"][0].lstrip("/"),
            "Command": container["Command"],
            "Project": project,
            "Service": container["Labels"][PLACE],
            "State": container["State"],
        }
        for container in found
    ]))


def down(project):
    for container in containers(project, all=True):
        value("DELETE", f"/containers/{container['Id']}?force=1&v=1")


def main(arguments):
    if arguments[:1] == ["version"]:
        # As the program prints it for `--format json`, which is how tests ask.
        return print(json.dumps({"version": VERSION}))
    parser = argparse.ArgumentParser("docker compose")
    parser.add_argument("-p", "--project-name", required=True)
    parser.add_argument("-f", "--file", required=True)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("up")
    verb.add_argument("-d", "--detach", action="store_true", required=True)
    verb.add_argument("--build", action="store_true")
    verb = verbs.add_parser("ps")
    verb.add_argument("-a", "--all", action="store_true")
    verb.add_argument("--format", choices=["json"], required=True)
    verb = verbs.add_parser("down")
    # It always removes them.
    verb.add_argument("-v", "--volumes", action="store_true")
    wanted = parser.parse_args(arguments)
    if wanted.verb == "up":
        up(wanted.project_name, wanted.file, read(wanted.file))
    elif wanted.verb == "ps":
        ps(wanted.project_name, wanted.all)
    else:
        down(wanted.project_name)
