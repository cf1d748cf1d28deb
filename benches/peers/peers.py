"""The other builders, each in the way of its best users."""
import json
import os
import re
import shutil
import socket
import subprocess
import time

from builders import HERE, OTHERS, PYTHON, SUITES
from measure import output


class Peer:
    """Makes all images by a Dockerfile, in a context of its own or one that it shares."""

    # Where the work is another process's, the peak memory of the one that was called says nothing.
    tells_memory = False
    # Takes part in one run of each row.
    slow = True
    # Does a part of the work only, and is compared with nobody.
    partial = False
    # Sees no change in files that a step mounts by bind: it would keep its old images in rows of those.
    blind = False

    def __init__(self, bench, context, index, name):
        self.bench, self.context, self.index, self.name = bench, context, index, name
        self.prefix = "peers-" + re.sub("[^a-z]+", "-", name.lower())
        self.scratch = context.path.parent
        # An argument that the first steps of a build depend on; `--no-cache` would empty the cache mounts too.
        self.fresh = 0
        self.made = set()

    def image(self, name):
        return f"{self.prefix}/{name}"

    def arguments(self):
        return {"INDEX": self.index, "FRESH": f"{os.getpid()} {self.fresh}"}

    def words(self):
        return [word for name, value in self.arguments().items() for word in ["--build-arg", f"{name}={value}"]]

    def download(self):
        """Brings what builds take from the cache."""

    def cold(self):
        self.fresh += 1
        return self.build()

    def prepare(self):
        """Follows a change in the context, before anything is timed."""
        # The next build takes the names away from these.
        self.made.update(output(["docker", "images", "--quiet", "--no-trunc", f"{self.prefix}/*"]).split())

    def tear_down(self):
        Peer.prepare(self)
        there = set(output(["docker", "images", "--quiet", "--no-trunc"]).split())
        if images := self.made & there:
            self.bench.call(["docker", "rmi", "--force", *images])


class BuildKit(Peer):
    """`docker buildx bake`: one call for all images."""

    def __init__(self, bench, context, index, name, dockerfile):
        super().__init__(bench, context, index, name)
        self.slow = dockerfile != "uv.Dockerfile"
        self.dockerfile = HERE / dockerfile
        self.file = self.scratch / f"{self.prefix}.json"

    def bake(self, stages, *words):
        common = {"context": str(self.context.path), "dockerfile": str(self.dockerfile), "args": self.arguments()}
        targets = {stage: {"target": stage, "tags": [self.image(stage)], **common} for stage in stages}
        self.file.write_text(json.dumps({"target": targets, "group": {"default": {"targets": list(targets)}}}))
        return self.bench.call(["docker", "buildx", "bake", "--file", str(self.file), "--progress", "plain", *words])

    def download(self):
        self.bake(["downloads"], "--set", "*.output=type=cacheonly", "--set", "*.tags=")

    def build(self):
        return self.bake(PYTHON + OTHERS)


class Classic(Peer):
    """The engine's own builder from before BuildKit: no cache mounts, so what changes is downloaded again."""

    def prepare(self):
        super().prepare()
        # All of a context is sent with each call: a careful user keeps other builders' things out of it.
        self.own = self.scratch / self.prefix
        self.own.mkdir(exist_ok=True)
        for name in ["requirements", "trees", "files", "ca-certificates.crt"]:
            source = self.context.path / name
            if source.is_dir():
                shutil.copytree(source, self.own / name, dirs_exist_ok=True)
            else:
                shutil.copy2(source, self.own / name)

    def build(self):
        memory = 0
        for stage in PYTHON + OTHERS:
            call = ["docker", "build", "--file", str(HERE / "classic.Dockerfile"), "--target", stage, "--tag", self.image(stage)]
            more = {"env": {**os.environ, "DOCKER_BUILDKIT": "0"}}
            memory = max(memory, self.bench.call([*call, *self.words(), str(self.own)], **more))
        return memory


class Buildah(Peer):
    """Images are ready in its own storage, where Podman would run them."""

    tells_memory = True
    blind = True

    def buildah(self, *words):
        place = ["--root", str(self.scratch / "buildah"), "--runroot", str(self.scratch / "buildah-run")]
        # Cache mounts lie in the folder for temporary files.
        temporary = self.scratch / "buildah-temporary"
        temporary.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        return self.bench.call(["buildah", *place, *words], env={**environment, "TMPDIR": str(temporary)})

    def bud(self, stage, *words):
        # It runs one stage at a time, and waits for ever where apt has removed the file that it locks a cache mount by.
        file = self.scratch / "buildah.Dockerfile"
        file.write_text((HERE / "uv.Dockerfile").read_text().replace(",sharing=locked", ""))
        # Its lightest way to run steps, which asks nothing of the host's control groups.
        call = ["bud", "--isolation", "chroot", "--layers", "--pull-never", "--target", stage, "--file", str(file)]
        return self.buildah(*call, *words, *self.words(), str(self.context.path))

    def download(self):
        for suite in SUITES:
            self.buildah("pull", "--quiet", f"docker-daemon:peers-{suite}:latest")
        self.bud("downloads")

    def build(self):
        return max(self.bud(stage, "--tag", self.image(stage)) for stage in PYTHON + OTHERS)

    def tear_down(self):
        # Its storage is a mount; images go with the folder.
        subprocess.run(["umount", "--recursive", str(self.scratch / "buildah/overlay")], stderr=subprocess.DEVNULL)


class Mise(Peer):
    """Packs folders of the host as layers. It runs nothing in an image, so the others' bases and environments are given
    to it as they are, and what making them takes is not counted; the six Python images alone."""

    tells_memory = True
    partial = True

    def __init__(self, bench, context, index, name, maker):
        super().__init__(bench, context, index, name)
        # Whose environments are packed.
        self.maker = maker
        self.place, self.registry = self.scratch / "mise", None
        homes = {f"MISE_{name}_DIR": str(self.place / name.lower()) for name in ["DATA", "CACHE", "STATE", "CONFIG"]}
        self.environment = {**os.environ, **homes, "MISE_EXPERIMENTAL": "1"}

    def download(self):
        """A registry with the bases: it takes them from nowhere else."""
        self.place.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        log, storage = "log: {level: error}", f"storage: {{filesystem: {{rootdirectory: {self.place / 'registry'}}}}}"
        text = f"version: 0.1\n{log}\n{storage}\nhttp: {{addr: '127.0.0.1:{self.port}'}}\n"
        (self.place / "registry.yml").write_text(text)
        call = ["docker-registry", "serve", str(self.place / "registry.yml")]
        self.registry = subprocess.Popen(call, stdout=self.bench.log, stderr=self.bench.log)
        until(lambda: socket.create_connection(("127.0.0.1", self.port)).close())
        self.maker.bake(["base", "tools"])
        for stage in ["base", "tools"]:
            target = f"docker://127.0.0.1:{self.port}/{stage}:1"
            self.bench.call(["skopeo", "copy", "--dest-tls-verify=false", f"docker-daemon:{self.maker.image(stage)}:latest", target])

    def prepare(self):
        super().prepare()
        for name in PYTHON:
            folder = self.place / "images" / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            container = output(["docker", "create", self.maker.image(name)]).strip()
            for place in ["/opt/venv"] + (["/etc/backend.ai"] if name == "manager" else []):
                self.bench.call(["docker", "cp", f"{container}:{place}", str(folder)])
            self.bench.call(["docker", "rm", container])
            copies = "".join(f"[[oci.copy]]\nhost = '{host}'\nimage = '{image}'\n" for host, image in COPIES if (folder / host).exists())
            base = "base" if name == "python" else "tools"
            (folder / "mise.toml").write_text(f"[oci]\nfrom = '127.0.0.1:{self.port}/{base}:1'\n{copies}")
            self.bench.call(["mise", "trust", "--yes", str(folder / "mise.toml")], env=self.environment)

    def build(self):
        memory = 0
        for name in PYTHON:
            more = {"cwd": self.place / "images" / name, "env": self.environment}
            pack = ["mise", "oci", "build", "--no-mise", "--output", str(self.place / "layout" / name), "--tag", "latest"]
            load = ["skopeo", "copy", f"oci:{self.place / 'layout' / name}:latest", f"docker-daemon:{self.image(name)}:latest"]
            memory = max(memory, self.bench.call(pack, **more), self.bench.call(load))
        return memory

    def tear_down(self):
        super().tear_down()
        if self.registry:
            self.registry.terminate()
            self.registry.wait()


COPIES = [("venv", "/opt/venv"), ("backend.ai", "/etc/backend.ai")]


def until(work, limit=30):
    """Tries until what it asks answers; not longer than some seconds."""
    end = time.monotonic() + limit
    while True:
        try:
            return work()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
