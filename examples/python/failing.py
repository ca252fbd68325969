"""Three ways to fail a job: return `error`, raise, die.

The first two end the job as FAILED with that text, and it is not tried again: it would fail again. A worker that dies takes
its job along; that job goes to another worker until its attempts are used up.
"""

import os

import runpod


def handler(job):
    how = job["input"].get("how", "return")
    if how == "return":
        return {"error": "the prompt is empty", "hint": "send `prompt`"}
    if how == "raise":
        raise ValueError("the prompt is empty")
    if how == "die":
        os._exit(3)
    return {"how": how}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
