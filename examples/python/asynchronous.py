"""An `async` handler: it waits without blocking the worker, and can be stopped at every `await`.

A cancelled or timed-out job raises `asyncio.CancelledError` at the next `await`; let it pass, after tidying up.
"""

import asyncio

import runpod


async def handler(job):
    seconds = float(job["input"].get("seconds", 0))
    await asyncio.sleep(seconds)
    return {"slept_s": seconds}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
