"""A generator streams: each `yield` can be fetched from /stream at once, as a language model's tokens are.

`return_aggregate_stream` also makes the list of all pieces the job's output; without it the output is an empty list.
"""

import os
import time

import runpod


def handler(job):
    delay = float(job["input"].get("delay_s", 0))
    for word in job["input"].get("prompt", "").split():
        time.sleep(delay)
        yield {"token": word}


if __name__ == "__main__":
    aggregate = os.environ.get("AGGREGATE", "1") == "1"
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": aggregate})
