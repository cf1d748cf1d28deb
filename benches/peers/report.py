"""The tables that a run ends with."""
from rows import ASSEMBLING, BASE, COLD, CONFIGS, NOTHING, POINTS, PUSHING, SANDBOX, SECOND, SECOND_ON_DISK, WHEELS

UV, PIP = "BuildKit and uv", "BuildKit and pip"


def seconds(value):
    return f"{value:.3f} s" if value < 1 else f"{value:.1f} s"


def megabytes(value):
    return f"{value / 1e6:.1f} MB" if value < 1e8 else f"{value / 1e6:.0f} MB"


def timed(world, row, goal, limit, names=None, most=None, before=0, what=""):
    """A row by medians; the best of these peers, or of all. `before` are seconds that each of them needed before it."""
    bench = world.bench
    if not bench.has(row, "baibox"):
        return
    ours = bench.median(row, "baibox")
    left_out = {"baibox", SANDBOX, *(peer.name for peer in world.peers if peer.partial)}
    several = {name: bench.median(row, name) for name in bench.samples[row] if name not in left_out}
    several = {name: value + before for name, value in several.items() if names is None or name in names}
    if several:
        name = min(several, key=several.get)
        ratio = ours / several[name]
        met = ratio <= limit and (most is None or ours <= most)
        print_row(row + what, goal, seconds(ours), f"{seconds(several[name])}, {name}", ratio, met)


def weighed(world, what, goal, limit):
    found = dict(world.weights.get(what, {}))
    ours = found.pop("baibox", None)
    if ours is not None and found:
        name = min(found, key=found.get)
        ratio = ours / found[name]
        print_row(what, goal, megabytes(ours), f"{megabytes(found[name])}, {name}", ratio, ratio <= limit)


def print_row(what, goal, ours, best, ratio, met):
    print(f"| {what} | {goal} | {ours} | {best} | {ratio:.3f} | {'yes' if met else 'no'} |")


def goals(world):
    bench = world.bench
    print("| what | goal | baibox | best other | ratio | met |\n|---|---|---|---|---|---|")
    timed(world, NOTHING, "0.1, 50 ms", 0.1, most=0.05)
    for row in WHEELS:
        timed(world, row, "0.2", 0.2)
        timed(world, row, "1/30 of pip", 1 / 30, names=[PIP])
    for row in [POINTS, CONFIGS]:
        timed(world, row, "0.5", 0.5)
    timed(world, COLD, "0.33", 1 / 3)
    if bench.has(BASE, "mmdebstrap"):
        timed(world, COLD, "0.33", 1 / 3, before=bench.median(BASE, "mmdebstrap"), what=", and Debian's base by mmdebstrap for the others")
    timed(world, BASE, "0.5", 0.5)
    weighed(world, SECOND, "0.5", 0.5)
    weighed(world, SECOND_ON_DISK, "0.5", 0.5)
    weighed(world, "bytes of the six Python images", "1", 1)
    weighed(world, "bytes of all images", "1", 1)
    timed(world, ASSEMBLING, "1.43", 1 / 0.7)
    timed(world, PUSHING, "1", 1)
    weighed(world, "bytes of compressed layers", "1", 1)
    memory = [bench.median(row, "baibox", "memory") * 1024 for row in [COLD, BASE] if bench.has(row, "baibox")]
    if memory:
        of_one = f"{megabytes(memory[1])} of the base alone" if len(memory) > 1 else ""
        print_row("peak memory of making all images", "200 MB", megabytes(memory[0]), of_one, memory[0] / memory[-1], max(memory) <= 2e8)


def everyone(world):
    bench = world.bench
    tells = {"baibox", SANDBOX, "sha256sum", "pigz", *(peer.name for peer in world.peers if peer.tells_memory)}
    print("\n| what | by | median of | seconds | user CPU | peak memory |\n|---|---|---|---|---|---|")
    for row, several in bench.samples.items():
        for who, samples in several.items():
            memory = megabytes(bench.median(row, who, "memory") * 1024) if who in tells else ""
            print(f"| {row} | {who} | {len(samples)} | {bench.median(row, who):.3f} | {bench.median(row, who, 'cpu'):.1f} | {memory} |")
    print("\n| bytes | by | |\n|---|---|---|")
    for what, several in world.weights.items():
        for who, size in several.items():
            print(f"| {what} | {who} | {megabytes(size)} |")
    if found := world.digests.get("base"):
        print(f"\nthe base by engine and sandbox: {'the same image' if len(found) == 1 else 'DIFFERENT images'}")


def report(world):
    goals(world)
    everyone(world)
