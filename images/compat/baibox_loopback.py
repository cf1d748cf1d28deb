"""Sessions whose ports the agent binds to, and dials at, 127.0.0.1.

The agent runs in a container, where that address is its own. What it publishes there is
published at the engine's host on this network, and there it is dialled: `BAIBOX_SESSION_PORTS`
says which ports are meant.
"""
import os
import re

import baibox_engine
import zmq

LOOPBACK = "127.0.0.1"
HOST = baibox_engine.gateway()
FIRST, LAST = map(int, os.environ["BAIBOX_SESSION_PORTS"].split("-"))


def reachable(config):
    bindings = (config.get("HostConfig") or {}).get("PortBindings") or {}
    for binding in (one for places in bindings.values() for one in places or ()):
        if binding.get("HostIp") == LOOPBACK and FIRST <= int(binding.get("HostPort") or 0) <= LAST:
            binding["HostIp"] = HOST


baibox_engine.ADJUSTED.append(reachable)
connect = zmq.Socket.connect


def connected(self, addr):
    found = re.fullmatch(rf"tcp://{re.escape(LOOPBACK)}:(\d+)", addr) if isinstance(addr, str) else None
    if found and FIRST <= int(found[1]) <= LAST:
        addr = f"tcp://{HOST}:{found[1]}"
    return connect(self, addr)


zmq.Socket.connect = connected
