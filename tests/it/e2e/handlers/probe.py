"""A handler that does what its input says, good or bad: what no example should teach."""

import asyncio
import json
import math
import os
import sys
import time

import runpod


async def handler(job):
    asked = job["input"]
    do = asked.get("do", "echo")
    if do == "echo":
        return {"echo": asked, "worker": os.environ["RUNPOD_POD_ID"], "release": os.environ.get("RELEASE", "")}
    if do == "sleep":
        await asyncio.sleep(asked["seconds"])
        return {"slept": asked["seconds"], "worker": os.environ["RUNPOD_POD_ID"], "release": os.environ.get("RELEASE", "")}
    if do == "block":
        time.sleep(asked["seconds"])
        return {"blocked": asked["seconds"]}
    if do == "until":  # a file appears
        while not os.path.exists(asked["path"]):
            await asyncio.sleep(0.05)
        return {"worker": os.environ["RUNPOD_POD_ID"], "release": os.environ.get("RELEASE", "")}
    if do == "swallow":
        try:
            await asyncio.sleep(asked["seconds"])
        except asyncio.CancelledError:
            pass
        return {"swallowed": True}
    if do == "object":
        return {"value": object()}
    if do == "nan":
        return {"nan": math.nan, "infinity": math.inf, "text": "NaN"}
    if do == "value":
        return asked.get("value")
    if do == "big":
        return "x" * asked["bytes"]
    if do == "once":  # dies on the first attempt and answers on the second
        marker = asked["path"]
        if not os.path.exists(marker):
            with open(marker, "w", encoding="utf-8") as file:
                json.dump({"pid": os.getpid()}, file)
            os._exit(7)
        return {"attempt": 2}
    if do == "die":
        os._exit(asked.get("code", 7))
    if do == "exit":
        sys.exit(asked.get("code", 3))
    if do == "environment":
        return {"cwd": os.getcwd(), "home": os.environ.get("HOME"), "names": sorted(os.environ), "pid": os.getpid()}
    raise ValueError(f"do what? {do}")


if __name__ == "__main__":
    concurrency = int(os.environ.get("CONCURRENCY", "1"))
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: concurrency})
