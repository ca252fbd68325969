"""The plainest handler: a function of the job that returns its output.

While it runs, the worker does nothing else: no further job, no stop signal. See asynchronous.py for one that waits a lot.
"""

import runpod


def handler(job):
    text = job["input"].get("text", "")
    return {"text": text, "length": len(text)}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
