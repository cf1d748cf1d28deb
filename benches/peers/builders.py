"""How each builder makes the images of a release."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import tomllib

from measure import output

HERE = pathlib.Path(__file__).parent
# What each image links.
TREES = {
    "manager": ["manager", "common"],
    "agent": ["agent", "common"],
    "storage-proxy": ["storage-proxy", "common"],
    "webserver": ["webserver", "client"],
    "workspace": ["client"],
}
PYTHON = [*TREES, "python"]
OTHERS = ["postgres", "redis", "etcd"]


class Baibox:
    name = "baibox"

    def __init__(self, bench, binary, scratch, id, branch):
        self.bench, self.binary, self.scratch, self.id, self.branch = bench, binary, scratch, id, branch
        self.folder = scratch / id
        self.state = self.folder / ".baibox" / id
        self.store = scratch / "cache/baibox"
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache"), "BAIBOX_IMAGES": str(scratch / "images")}

    def call(self, *words, **more):
        return self.bench.call([self.binary, "--quiet", *words], env={**self.environment, **more})

    def set_up(self):
        """An environment with all that it downloads, its containers gone again. Its layers are no others'."""
        shutil.copytree(HERE.parent.parent / "images", self.scratch / "images")
        for path in (self.scratch / "images").glob("*/*/release.toml"):
            text = path.read_text().replace("options.exclude = [", 'options.exclude = ["usr/share/bug", "usr/share/lintian", ')
            path.write_text(text)
        self.call("up", "--branch", self.branch, "--env", self.id, "--path", str(self.folder), "--source", "pypi", "--no-verify")
        graph = ["docker", "compose", "--project-name", self.id, "--file", str(self.state / "compose.yaml")]
        self.bench.call([*graph, "down", "--volumes"])

    def lock(self):
        return tomllib.loads((self.state / "lock.toml").read_text())

    def images(self):
        return json.loads((self.state / "environment.json").read_text())["images"]

    def held(self):
        """Images of these pins and of earlier ones, as far as the engine has them."""
        known = output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
        record = json.loads((self.state / "environment.json").read_text())
        return [name for name in [*record["images"].values(), *record["superseded"]] if name in known]

    def build(self, **more):
        return self.call("build", "--env", self.id, **more)

    def pin(self, wheel):
        """Names another version of a wheel in the lock; the store has it as if it were downloaded."""
        name, version = wheel.name.lower().split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        place = self.store / "blobs" / digest[:2] / digest
        place.parent.mkdir(exist_ok=True)
        shutil.copy(wheel, place)
        path = self.state / "lock.toml"
        text = re.sub(rf'"{name} [^"]+"', f'"{name} {version}"', path.read_text())
        file = f'name = "{name}"\nversion = "{version}"\nfile = "{wheel.name}"\nsha256 = "sha256:{digest}"\nsize = '
        text = re.sub(rf'name = "{name}"\nversion = .*\nfile = .*\nsha256 = .*\nsize = \d+', f"{file}{wheel.stat().st_size}", text)
        path.write_text(text)

    def forget(self, place):
        """A store that has only downloads, and an engine without the images."""
        if held := self.held():
            self.bench.call(["docker", "rmi", "--force", *held])
        store = self.scratch / place / "baibox"
        shutil.rmtree(store, ignore_errors=True)
        for digest in set(re.findall("sha256:([0-9a-f]{64})", (self.state / "lock.toml").read_text())):
            blob = pathlib.Path("blobs") / digest[:2] / digest
            if (self.store / blob).exists():
                (store / blob).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.store / blob, store / blob)
        shutil.copytree(self.store / "environments", store / "environments")
        return {"XDG_CACHE_HOME": str(self.scratch / place)}


class Context:
    """What Dockerfiles are given: requirements by the lock, the trees' packaging, uv, certificates."""

    def __init__(self, bench, scratch, name, uv, downloads):
        self.bench, self.path = bench, scratch / name
        for folder in ["requirements", "downloads/builders", "trees", "files", "bin"]:
            (self.path / folder).mkdir(parents=True)
        shutil.copy(uv, self.path / "bin/uv")
        certificates = pathlib.Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
        shutil.copy(certificates, self.path / "ca-certificates.crt")
        (self.path / "files/manager").mkdir()
        (self.path / "files/manager/peers.conf").write_text("first\n")
        for wheel in downloads:
            name, version = wheel.name.split("-")[:2]
            (self.path / f"downloads/{name}-{version}.txt").write_text(f"{name}=={version}\n")

    def fill(self, environment):
        python = environment.lock()["python"]
        pins = {image: set(python["environments"]["compute" if image == "python" else image]) for image in PYTHON}
        common = set.intersection(*(pins[image] for image in TREES))
        lists = {image: pins[image] - common for image in TREES} | {"common": common, "compute": pins["python"]}
        for name, several in lists.items():
            text = "".join(f"{pin.replace(' ', '==')}\n" for pin in sorted(several))
            (self.path / f"requirements/{name}.txt").write_text(text)
            (self.path / f"downloads/{name}.txt").write_text(text)
        builders = "".join(f"{pin.replace(' ', '==')}\n" for pin in python["builders"])
        (self.path / "downloads/builders/builders.txt").write_text(builders)
        # The first that can make links to trees in the standard way.
        (self.path / "requirements/editable.txt").write_text("setuptools==64.0.3\nwheel==0.37.1\n")
        (self.path / "downloads/builders/editable.txt").write_text("setuptools==64.0.3\nwheel==0.37.1\n")
        for tree in {tree for several in TREES.values() for tree in several}:
            source, target = environment.folder / tree, self.path / "trees" / tree
            only = shutil.ignore_patterns(".git", "static", "*.tar.*", "*.bin", "*.so")
            shutil.copytree(source, target, ignore=only, dirs_exist_ok=True)

    def pin(self, wheel):
        name, version = wheel.name.lower().split("-")[:2]
        for path in (self.path / "requirements").iterdir():
            path.write_text(re.sub(rf"^{name}==.*$", f"{name}=={version}", path.read_text(), flags=re.M))


class BuildKit:
    """`docker buildx bake`: one call for all images."""

    def __init__(self, bench, context, name, dockerfile, index):
        self.bench, self.context, self.name, self.index = bench, context, name, index
        self.prefix = name.replace(" ", "-").replace("+", "and").lower()
        self.dockerfile, self.fresh = dockerfile, ""
        self.file = context.path.parent / f"{self.prefix}.json"

    def image(self, name):
        return f"peers-{self.prefix}/{name}"

    def stages(self):
        return {name: {"target": name} for name in PYTHON + OTHERS}

    def bake(self, stages, *words):
        targets = {
            name: {"context": str(self.context.path), "dockerfile": str(self.dockerfile), "tags": [self.image(name)], **stage}
            for name, stage in stages.items()
        }
        for target in targets.values():
            target["args"] = {"INDEX": self.index, "FRESH": self.fresh}
        self.file.write_text(json.dumps({"target": targets, "group": {"default": {"targets": list(targets)}}}))
        return self.bench.call(["docker", "buildx", "bake", "--file", str(self.file), "--progress", "plain", *words])

    def set_up(self):
        self.bake({"downloads": {"target": "downloads", "tags": []}}, "--set", "*.output=type=cacheonly")
        self.build()

    def build(self):
        return self.bake(self.stages())

    def cold(self, number):
        """`--no-cache` would empty the cache mounts too: an argument that is new does what is asked."""
        self.fresh = str(number)
        return self.bake(self.stages())

    def tear_down(self):
        self.bench.call(["docker", "rmi", "--force", *map(self.image, self.stages()), "peers-bullseye", "peers-bookworm"])
