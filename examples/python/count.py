"""Second stage of a pipeline: words to counts. It is fed by extract.py and can be called directly as well."""

from collections import Counter

import runpod


def handler(job):
    return dict(Counter(job["input"]["words"]))


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
