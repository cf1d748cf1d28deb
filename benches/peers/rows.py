"""What is compared, row by row."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from builders import OTHERS, PYTHON, Baibox, Context, without_documentation
from measure import chains, folder, layers, output
from peers import BuildKit, Classic

POINT = "\tmgr.peers-{} = ai.backend.manager.server:main\n"
NOTHING = "nothing changed, all images"
WHEELS = {
    # In the lowest layer of Python packages, and of the manager alone; each version is new to all builders.
    "wheel of all components changed": ["idna==3.2", "idna==3.4", "idna==3.6"],
    "wheel of one component changed": ["sqlalchemy==1.4.36", "sqlalchemy==1.4.37", "sqlalchemy==1.4.38"],
}
POINTS = "entry point of one component changed"
CONFIGS = "config of one component changed"
COLD = "all images, downloads there"
BASE = "Debian base, packages there"
ASSEMBLING = "layers of fragments, beside `sha256sum`"
SANDBOX = "baibox without an engine"
PUSHING = "compression of all layers"
SECOND = "bytes that a second release adds"
SECOND_ON_DISK = "the same in the engine, by layers with all below them"
# Runs of what takes long for everybody.
LONG = 2


class World:
    """All that rows need; `weights` are bytes by what they are of and by whom."""

    def __init__(self, bench, scratch, runs, baibox):
        self.bench, self.scratch, self.runs, self.baibox = bench, scratch, runs, baibox
        # Where other builders of images take part.
        self.peers, self.context, self.wheels, self.programs, self.index = [], None, {}, None, ""
        self.weights, self.digests = {}, {}

    def weigh(self, what, who, size):
        self.weights.setdefault(what, {})[who] = size
        print(f"{what}: {who} {size / 1e6:.1f} MB", file=sys.stderr)

    def all(self, row, last):
        """One build by each; those that take long take part in the last run of a row."""
        self.bench.time(row, "baibox", self.baibox.build)
        for peer in self.peers:
            if peer.blind and row in (*WHEELS, POINTS):
                continue
            if last and not (peer.partial and row in (POINTS, CONFIGS)) or not peer.slow:
                peer.prepare()
                self.bench.time(row, peer.name, peer.build)


def cold(world):
    # The first build of each peer was one too.
    for number in range(min(world.runs, LONG)):
        world.baibox.forget_images()
        more = world.baibox.downloads_alone(f"cold-{number}")
        world.bench.time(COLD, "baibox", lambda: world.baibox.build(**more))
        shutil.rmtree(world.scratch / f"cold-{number}")
        for peer in world.peers:
            if number and not peer.slow:
                world.bench.time(COLD, peer.name, peer.cold)


def nothing(world):
    for number in range(world.runs):
        world.all(NOTHING, number + 1 == world.runs)


def wheel(world):
    for row, several in world.wheels.items():
        for number, file in enumerate(several[: world.runs]):
            world.baibox.pin(file)
            world.context.pin(file)
            world.all(row, number + 1 == world.runs)


def entry_point(world):
    for number in range(world.runs):
        for tree in [world.baibox.folder / "manager", world.context.path / "trees/manager"]:
            text = (tree / "setup.cfg").read_text()
            head = "backendai_cli_v10 = \n"
            (tree / "setup.cfg").write_text(text.replace(head, head + POINT.format(number)))
        world.all(POINTS, number + 1 == world.runs)


def config(world):
    for number in range(world.runs):
        for place in [world.baibox, world.context]:
            place.configure(f"of run {number}\n")
        world.all(CONFIGS, number + 1 == world.runs)


def disk(world):
    for builder in [world.baibox, *(peer for peer in world.peers if type(peer) in (BuildKit, Classic))]:
        images = world.baibox.images() if builder is world.baibox else {name: builder.image(name) for name in PYTHON + OTHERS}
        world.weigh("bytes of the six Python images", builder.name, sum(layers([images[name] for name in PYTHON]).values()))
        world.weigh("bytes of all images", builder.name, sum(layers(images.values()).values()))
    world.weigh("store", "baibox", folder(world.baibox.store))


def second(world):
    """20.09 on top of 21.03; trees of 21.09 are not all source distributions."""
    def weigh(who, first, second):
        of_first, of_second = chains(first), chains(second)
        world.weigh(SECOND_ON_DISK, who, sum(size for chain, size in of_second.items() if chain not in of_first))
        known = {chain[-1] for chain in of_first}
        added = {chain[-1]: size for chain, size in of_second.items() if chain[-1] not in known}
        world.weigh(SECOND, who, sum(added.values()))

    first = world.baibox
    other = Baibox(world.bench, first.binary, world.scratch, f"{first.id}-2", "20.09")
    try:
        other.set_up()
        weigh("baibox", first.images().values(), other.images().values())
        for peer in world.peers:
            if not peer.slow:
                context = Context(world.scratch, f"second-{peer.prefix}", world.programs, [])
                context.fill(other)
                more = BuildKit(world.bench, context, world.index, f"{peer.name} second", peer.dockerfile)
                more.fresh = peer.fresh
                more.download()
                more.build()
                names = PYTHON + OTHERS
                weigh(peer.name, map(peer.image, names), map(more.image, names))
                more.tear_down()
    finally:
        other.tear_down()


def base(world):
    """The packages that all but Redis and etcd stand on, from .debs that are there, to a tar file."""
    catalog = world.scratch / "base-images"
    shutil.copytree(world.baibox.catalog, catalog)
    path = catalog / "eras/components/release.toml"
    head, *images = path.read_text().split("[[image]]\n")
    rest = images[-1][images[-1].index("\n[[cure]]") :]
    path.write_text(f'{head}[[image]]\nname = "python"\npackages = ["base"]\n{rest}')
    for number in range(min(world.runs, LONG)):
        for engine in ["", "none"]:
            more = world.baibox.downloads_alone(f"base-{number}{engine}") | {"BAIBOX_IMAGES": str(catalog)}
            more |= {"BAIBOX_ENGINE": engine} if engine else {}
            form = f"docker-archive:{world.scratch / 'base.tar'}"
            who = SANDBOX if engine else "baibox"
            world.bench.time(BASE, who, lambda: world.baibox.build("--output", form, **more))
            config = output(["tar", "--extract", "--to-stdout", "--file", str(world.scratch / "base.tar"), "manifest.json"])
            world.digests.setdefault("base", set()).add(config)
            shutil.rmtree(more["XDG_CACHE_HOME"])
    debs = world.scratch / "debs"
    debs.mkdir()
    packages = world.baibox.lock()["debian"]["base"]
    for package in packages:
        digest = package["sha256"].removeprefix("sha256:")
        os.link(world.baibox.store / "blobs" / digest[:2] / digest, debs / pathlib.Path(package["file"]).name)
    (debs / "Packages").write_text(output(["dpkg-scanpackages", "--multiversion", "."], cwd=debs, stderr=subprocess.DEVNULL))
    call = ["mmdebstrap", "--variant=apt", "--include=" + ",".join(package["name"] for package in packages)]
    call += [*without_documentation(), "--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount"]
    call += ["bullseye", str(world.scratch / "peer.tar"), f"deb [trusted=yes] file://{debs} ./"]
    for _ in range(min(world.runs, LONG)):
        world.bench.time(BASE, "mmdebstrap", lambda: world.bench.call(call))


def streams(world):
    """The layers of all images as files."""
    place = world.scratch / "streams"
    if not place.exists():
        place.mkdir()
        layers(world.baibox.images().values(), place)
    return sorted(map(str, place.glob("*.tar")))


def assemble(world):
    """The engine has the images: baibox puts their layers together again, and sees that nothing is to be sent."""
    files = streams(world)
    for _ in range(world.runs):
        world.baibox.forget_actions(lambda text: '"diff_id"' in text)
        world.bench.time(ASSEMBLING, "baibox", world.baibox.build)
        world.bench.time(ASSEMBLING, "sha256sum", lambda: world.bench.call(["sha256sum", *files]))
    world.weigh("bytes of the layers put together", "baibox", sum(os.path.getsize(file) for file in files))


def compress(world):
    files, cores = streams(world), str(os.cpu_count())
    for _ in range(world.runs):
        world.baibox.forget_actions(lambda text: re.fullmatch(r'{"digest":"[^"]*","size":\d+}', text))
        place = world.scratch / "layout"
        shutil.rmtree(place, ignore_errors=True)
        world.bench.time(PUSHING, "baibox", lambda: world.baibox.build("--output", f"oci:{place}"))
        call = ["pigz", "-6", "--force", "--keep", "--processes", cores, *files]
        world.bench.time(PUSHING, "pigz", lambda: world.bench.call(call))
    blob = lambda found: json.loads((place / "blobs" / found["digest"].replace(":", "/")).read_text())
    manifests = map(blob, json.loads((place / "index.json").read_text())["manifests"])
    ours = {layer["digest"]: layer["size"] for manifest in manifests for layer in manifest["layers"]}
    world.weigh("bytes of compressed layers", "baibox", sum(ours.values()))
    world.weigh("bytes of compressed layers", "pigz", sum(os.path.getsize(f"{file}.gz") for file in files))


# In this order: pins and entry points change what later rows build on.
ROWS = {
    "cold": cold, "disk": disk, "second": second, "base": base, "assemble": assemble, "compress": compress,
    "nothing": nothing, "wheel": wheel, "entry-point": entry_point, "config": config,
}
# Those that other builders of all images take part in.
BUILDS = {"cold", "disk", "second", "nothing", "wheel", "entry-point", "config"}
