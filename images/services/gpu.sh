#!/bin/sh
# Chooses the part of the graph that gives the agent the host's GPU: `gpu.sh IMAGE`.
# Runs on the host; what it cannot do is said, and the stack then starts without.
set -eu
cd "$(dirname "$0")/.."
choice=off
start() {
    # Whether it is configured is not whether it works: only a start tells.
    docker run --rm "$@" 2>&1
}
case "$(docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}' 2>/dev/null)" in
    *nvidia*)
        if said=$(start --gpus all --network none --entrypoint /bin/true "$1"); then
            choice=on
        # Engines before 19.03, and those that do not find NVIDIA's hook, know the runtime alone.
        elif start --runtime nvidia --env NVIDIA_VISIBLE_DEVICES=all --network none --entrypoint /bin/true "$1" > /dev/null; then
            choice=runtime
        else
            printf 'the GPU is not used, since the engine cannot start a container with it:\n  %s\n' "$said" >&2
        fi
        ;;
esac
cmp -s "gpu/$choice.yaml" compose.gpu.yaml || cp "gpu/$choice.yaml" compose.gpu.yaml
