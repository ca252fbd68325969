"""Several jobs at once on one worker: `concurrency_modifier` says how many, and is asked before each take.

Worth it for handlers that wait (for a network, an engine that batches). The worker resizes only when it is empty, so say
the number you want from the start rather than growing under load.
"""

import asyncio
import os

import runpod

CONCURRENCY = int(os.environ.get("CONCURRENCY", "4"))
running = 0


async def handler(job):
    global running
    running += 1
    try:
        at_once = running
        await asyncio.sleep(float(job["input"].get("seconds", 0)))
        return {"at_once": max(at_once, running)}
    finally:
        running -= 1


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: CONCURRENCY})
