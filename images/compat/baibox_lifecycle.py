"""Sessions that start while the agent looks for dead ones are not taken for dead.

Every ten seconds the agent compares the containers that run with the sessions that it has noted. A session is noted some
time after its container began, and both while the engine still answers; what it has of one and not of the other the agent
ends, as `self-terminated` or `terminated-unknown-container`. On a slow engine that was every third session.
"""
import asyncio

import baibox_import


def cure(module):
    agent = module.DockerAgent
    create, compare = agent.create_kernel, agent.sync_container_lifecycles
    creating, comparing = set(), set()

    async def created(self, *what, **rest):
        one = object()
        creating.add(one)
        try:
            if comparing:
                await asyncio.wait(comparing)
            return await create(self, *what, **rest)
        finally:
            creating.discard(one)

    async def compared(self, *what, **rest):
        # A later round finds what is dead now; what ends by itself is an event besides.
        if creating:
            return
        task = asyncio.ensure_future(compare(self, *what, **rest))
        comparing.add(task)
        try:
            await task
        finally:
            comparing.discard(task)

    agent.create_kernel, agent.sync_container_lifecycles = created, compared


baibox_import.when_imported("ai.backend.agent.docker.agent", cure)
