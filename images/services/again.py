"""Runs a service's program, and again each time that somebody asks: `again.py SERVICE PROGRAM…`.

To ask is to touch `.restart/SERVICE` in the workspace: from where one develops there is
no engine to ask.
"""
import os
import pathlib
import signal
import subprocess
import sys

service, *program = sys.argv[1:]
request = pathlib.Path(os.environ["BAIBOX_WORKSPACE"]) / ".restart" / service


def asked():
    try:
        return request.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def pass_on(number, _):
    global ends
    ends = True
    child.send_signal(number)


ends = False
seen = asked()
child = subprocess.Popen(program)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, pass_on)
while True:
    try:
        sys.exit(child.wait(0.5))
    except subprocess.TimeoutExpired:
        now = asked()
    if now != seen and not ends:
        seen = now
        child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        print(f"restarting {service}", flush=True)
        child = subprocess.Popen(program)
