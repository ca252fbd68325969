"""How an application calls its endpoints, with the platform's own client and nothing else changed but the address.

    python client.py                              # against http://127.0.0.1:8080
    THERMOCLINE_URL=http://127.0.0.1:9000 python client.py

`RUNPOD_ENDPOINT_BASE_URL=http://127.0.0.1:8080/v2` in the environment does the same for code that cannot be touched.
"""

import asyncio
import os

import aiohttp
import runpod
from runpod import AsyncioEndpoint

runpod.endpoint_url_base = os.environ.get("THERMOCLINE_URL", "http://127.0.0.1:8080") + "/v2"
# Any text will do until the first key is made (`thermocline keys create`).
runpod.api_key = os.environ.get("RUNPOD_API_KEY", "local")


def wait_for_the_answer():
    print("run_sync:", runpod.Endpoint("sync").run_sync({"text": "hello"}, timeout=120))


def fetch_it_later():
    job = runpod.Endpoint("asynchronous").run({"seconds": 0.5})
    print("status:", job.status())
    print("output:", job.output(timeout=120))


def stream():
    job = runpod.Endpoint("generator").run({"prompt": "warm water above cold water"})
    for piece in job.stream():
        print("stream:", piece)


def change_your_mind():
    job = runpod.Endpoint("asynchronous").run({"seconds": 60})
    print("cancel:", job.cancel())


def look_after_it():
    endpoint = runpod.Endpoint("sync")
    print("health:", endpoint.health())
    print("purge_queue:", endpoint.purge_queue())


async def many_at_once():
    async with aiohttp.ClientSession() as session:
        endpoint = AsyncioEndpoint("concurrency", session)
        jobs = [await endpoint.run({"seconds": 0.5}) for _ in range(8)]
        print("many:", await asyncio.gather(*(job.output(timeout=120) for job in jobs)))


if __name__ == "__main__":
    wait_for_the_answer()
    fetch_it_later()
    stream()
    change_your_mind()
    look_after_it()
    asyncio.run(many_at_once())
