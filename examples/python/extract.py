"""First stage of a pipeline: text to words. Its output is the `input` of the endpoint it feeds (count.py)."""

import runpod


def handler(job):
    return {"words": job["input"]["text"].lower().split()}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
