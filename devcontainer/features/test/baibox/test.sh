#!/bin/bash
# In a container with the Feature as it was packaged: https://github.com/devcontainers/cli, `features test`.
set -e
source dev-container-features-test-lib
check 'the program runs' baibox releases
check 'git is there' git --version
check 'the command of the engine is there' docker --version
check 'Compose is version 2' bash -c 'docker compose version --short | grep -E "^v?[2-9]"'
check 'the store is the volume' bash -c '[ "$(readlink -f ~/.cache/baibox)" = /var/lib/baibox ] && mountpoint -q /var/lib/baibox && touch ~/.cache/baibox/.written'
check 'a path of the host leads here' bash -c '/usr/local/share/baibox/same-path.sh "/somewhere/on the host" "$PWD" && [ "/somewhere/on the host" -ef "$PWD" ]'
check 'a path of another system is refused' bash -c '! /usr/local/share/baibox/same-path.sh "C:\\here" "$PWD"'
reportResults
