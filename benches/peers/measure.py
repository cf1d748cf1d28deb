"""Times commands and weighs images."""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import time

TICKS = os.sysconf("SC_CLK_TCK")


def processor():
    """Seconds that the machine's cores worked in programs, engine and containers included, since it began."""
    with open("/proc/stat") as file:
        user, nice, *_ = map(int, file.readline().split()[1:])
    return (user + nice) / TICKS


class Sample:
    """What one run took: seconds, user seconds of all cores, peak kB of the largest process that was called."""

    def __init__(self, seconds, cpu, memory):
        self.seconds, self.cpu, self.memory = seconds, cpu, memory


class Bench:
    def __init__(self, log):
        self.log = open(log, "w+b")
        self.samples = {}

    def call(self, command, good=(0,), **options):
        """Runs a command to its end; its peak memory. What it says is in the log, and shown if it fails: other exit codes."""
        self.log.write(f"$ {' '.join(map(str, command))}\n".encode())
        self.log.flush()
        begin = self.log.tell()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **options)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.terminate()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in good:
            self.log.seek(begin)
            said = self.log.read().decode(errors="replace").splitlines()[-30:]
            sys.exit("\n".join([*said, f"error: `{' '.join(map(str, command))}` failed with {child.returncode}"]))
        self.log.seek(0, os.SEEK_END)
        return usage.ru_maxrss

    def time(self, row, who, work):
        """`work` gives the peak memory of what it called."""
        cpu, begin = processor(), time.perf_counter()
        memory = work()
        seconds = time.perf_counter() - begin
        sample = Sample(seconds, processor() - cpu, memory)
        self.samples.setdefault(row, {}).setdefault(who, []).append(sample)
        print(f"{row}: {who} {seconds:.3f} s, {sample.cpu:.1f} s CPU, {memory // 1024} MB", file=sys.stderr)

    def has(self, row, who):
        return who in self.samples.get(row, {})

    def median(self, row, who, field="seconds"):
        return statistics.median(getattr(sample, field) for sample in self.samples[row][who])


def output(command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def layers(images, into=None):
    """Diff IDs of all layers of these images, with the size of their tar streams; `into` gets the streams."""
    return {chain[-1]: size for chain, size in chains(images, into).items()}


def chains(images, into=None):
    """The same by the diff IDs of a layer and all below it, as engines with overlay2 tell layers apart."""
    sizes, links, small = {}, {}, {}
    child = subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=child.stdout, mode="r|") as archive:
        for entry in archive:
            if entry.isfile():
                sizes[entry.name] = entry.size
                content = archive.extractfile(entry)
                if entry.name.endswith(".json"):
                    small[entry.name] = content.read()
                elif into and entry.name.endswith("layer.tar"):
                    with open(into / f"{len(sizes)}.tar", "wb") as file:
                        shutil.copyfileobj(content, file, 1 << 20)
            elif entry.issym():
                links[entry.name] = os.path.normpath(os.path.join(os.path.dirname(entry.name), entry.linkname))
    if child.wait():
        sys.exit("error: `docker save` failed")
    found = {}
    for image in json.loads(small["manifest.json"]):
        diff_ids = json.loads(small[image["Config"]])["rootfs"]["diff_ids"]
        for end, place in enumerate(image["Layers"], 1):
            found[tuple(diff_ids[:end])] = sizes[links.get(place, place)]
    return found


def folder(path):
    """Bytes that a folder takes on disk."""
    return int(output(["du", "--summarize", "--block-size=1", str(path)]).split()[0])
