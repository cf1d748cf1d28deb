"""baibox, and what every other builder is given."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
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
SUITES = ["bullseye", "bookworm"]
CONFIG = "etc/backend.ai/manager/peers.conf"

# Begins the part of a lock that says what changed packages lie on.
BELOW = "\n[below]\n"


class Baibox:
    name = "baibox"

    def __init__(self, bench, binary, scratch, id, branch):
        self.bench, self.binary, self.scratch, self.id, self.branch = bench, binary, scratch, id, branch
        self.folder = scratch / id
        self.state = self.folder / ".baibox" / id
        self.store = scratch / "cache/baibox"
        self.catalog = scratch / "images"
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(scratch / "cache"), "BAIBOX_IMAGES": str(self.catalog)}
        self.seen = set()

    def call(self, *words, **more):
        return self.bench.call([self.binary, "--quiet", *words], env={**self.environment, **more})

    def describe(self):
        """The catalog, with a file of one component more. Its layers are no others', so the engine lacks them."""
        shutil.copytree(HERE.parent.parent / "images", self.catalog)
        for path in self.catalog.glob("*/*/release.toml"):
            text = path.read_text().replace("options.exclude = [", 'options.exclude = ["usr/share/bug", "usr/share/lintian", ')
            head = '[[image]]\nname = "manager"\n'
            path.write_text(text.replace(head, f'{head}files."{CONFIG}".from = "compute/peers.conf"\n'))
        self.configure("first\n")

    def set_up(self):
        """An environment with all that it downloads; its containers are gone again."""
        if not self.catalog.exists():
            self.describe()
        up = ["up", "--branch", self.branch, "--env", self.id, "--path", str(self.folder), "--source", "pypi", "--no-verify"]
        # Its images count, not its services: they may not start (3), since stores do not know each other's ports.
        self.bench.call([self.binary, "--quiet", *up], env=self.environment, good=(0, 3))
        graph = ["docker", "compose", "--project-name", self.id, "--file", str(self.state / "compose.yaml")]
        self.bench.call([*graph, "down", "--volumes"])
        self.build()

    def tear_down(self):
        if self.state.exists():
            self.remember()
            self.call("delete", self.id, "--yes", "--force")
        if held := self.seen & known():
            self.bench.call(["docker", "rmi", "--force", *held])

    def lock(self):
        return tomllib.loads((self.state / "lock.toml").read_text())

    def images(self):
        return json.loads((self.state / "environment.json").read_text())["images"]

    def remember(self):
        record = json.loads((self.state / "environment.json").read_text())
        self.seen.update(record["images"].values(), record["superseded"])

    def held(self):
        """Images of these pins and of earlier ones, as far as the engine has them."""
        self.remember()
        return sorted(self.seen & known())

    def build(self, *words, **more):
        memory = self.call("build", "--env", self.id, *words, **more)
        # The engine is not asked: builds are timed.
        self.remember()
        return memory

    def configure(self, text):
        (self.catalog / "compute/peers.conf").write_text(text)

    def pin(self, wheel):
        """Names another version of a wheel in the lock, as `lock --update` does; the store has it as if it were downloaded."""
        name, version = wheel.name.lower().split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        place = self.store / "blobs" / digest[:2] / digest
        place.parent.mkdir(exist_ok=True)
        shutil.copy(wheel, place)
        path = self.state / "lock.toml"
        now, _, below = path.read_text().partition(BELOW)
        python = tomllib.loads(now)["python"]
        if not below:
            environments = "".join(f"{image} = {json.dumps(pins)}\n" for image, pins in python["environments"].items())
            below = f"builders = {json.dumps(python['builders'])}\n\n[below.environments]\n{environments}"
        if f'name = "{name}"' not in below:
            fields = next(file for file in python["file"] if file["name"] == name).items()
            below += "\n[[below.file]]\n" + "".join(f"{field} = {json.dumps(value)}\n" for field, value in fields)
        now = re.sub(rf'"{name} [^"]+"', f'"{name} {version}"', now)
        file = f'name = "{name}"\nversion = "{version}"\nfile = "{wheel.name}"\nsha256 = "sha256:{digest}"\nsize = '
        now = re.sub(rf'name = "{name}"\nversion = .*\nfile = .*\nsha256 = .*\nsize = \d+', f"{file}{wheel.stat().st_size}", now)
        path.write_text(now + BELOW + below)

    def downloads_alone(self, place):
        """A store that has only downloads; the environment of commands that are to use it."""
        store = self.scratch / place / "baibox"
        for digest in set(re.findall("sha256:([0-9a-f]{64})", (self.state / "lock.toml").read_text())):
            blob = pathlib.Path("blobs") / digest[:2] / digest
            if (self.store / blob).exists():
                (store / blob).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.store / blob, store / blob)
        shutil.copytree(self.store / "environments", store / "environments")
        return {"XDG_CACHE_HOME": str(self.scratch / place)}

    def forget_images(self):
        if held := self.held():
            self.bench.call(["docker", "rmi", "--force", *held])

    def forget_actions(self, wanted):
        """Forgets outcomes of these: what they gave is made again, of fragments that stay."""
        for path in (self.store / "actions").iterdir():
            if wanted(path.read_text()):
                path.unlink()


def known():
    """Tagged images of the engine."""
    return set(output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split())


class Context:
    """What Dockerfiles are given: requirements by the lock, the trees' packaging, uv, pip, certificates."""

    def __init__(self, scratch, name, programs, downloads):
        self.path = scratch / name
        for folder in ["requirements", "downloads/builders", "trees", "files/manager", "bin"]:
            (self.path / folder).mkdir(parents=True)
        shutil.copy(programs / "uv", self.path / "bin/uv")
        shutil.copytree(programs / "pip", self.path / "bin/pip")
        certificates = pathlib.Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
        shutil.copy(certificates, self.path / "ca-certificates.crt")
        self.configure("first\n")
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
        (self.path / "requirements/builders.txt").write_text(builders)
        # The first that can make links to trees in the standard way.
        (self.path / "requirements/editable.txt").write_text("setuptools==64.0.3\nwheel==0.37.1\n")
        (self.path / "downloads/builders/editable.txt").write_text("setuptools==64.0.3\nwheel==0.37.1\n")
        for tree in {tree for several in TREES.values() for tree in several}:
            source, target = environment.folder / tree, self.path / "trees" / tree
            only = shutil.ignore_patterns(".git", "static", "*.tar.*", "*.bin", "*.so")
            shutil.copytree(source, target, ignore=only, dirs_exist_ok=True)

    def configure(self, text):
        (self.path / "files/manager/peers.conf").write_text(text)

    def pin(self, wheel):
        name, version = wheel.name.lower().split("-")[:2]
        for path in (self.path / "requirements").iterdir():
            path.write_text(re.sub(rf"^{name}==.*$", f"{name}=={version}", path.read_text(), flags=re.M))


def base(bench, scratch, suite):
    """Debian's minimal base without documentation, as an image."""
    archive = scratch / f"{suite}.tar"
    bench.call(["mmdebstrap", "--variant=minbase", *without_documentation(), suite, str(archive)])
    bench.call(["docker", "import", str(archive), f"peers-{suite}"])


def without_documentation():
    return [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ["doc", "man", "locale", "info"]]


def programs(bench, scratch):
    """A folder with the uv program, and with pip's modules; the last pip that Debian 11's Python runs."""
    place = scratch / "programs"
    bench.call(["pip", "download", "--no-deps", "--dest", str(place), "uv"])
    bench.call(["pip", "download", "--no-deps", "--dest", str(place), "pip==25.3"])
    for wheel in place.glob("*.whl"):
        target = place / ("pip" if wheel.name.startswith("pip-") else "unpacked")
        bench.call(["python3", "-m", "zipfile", "-e", str(wheel), str(target)])
    uv = next((place / "unpacked").glob("*.data/scripts/uv"))
    uv.chmod(0o755)
    uv.rename(place / "uv")
    return place


def index():
    """The index that pip on this host is set to, or nothing for its default."""
    said = subprocess.run(["pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    return said.stdout.strip()
