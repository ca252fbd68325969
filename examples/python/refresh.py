"""A handler that asks for a fresh worker after its job: for libraries that leak, or to forget a user's files.

The flag is taken out of the output; the worker is stopped and reset after this job, before it gets another.
"""

import os

import runpod


def handler(job):
    return {"pid": os.getpid(), "refresh_worker": bool(job["input"].get("refresh", True))}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
