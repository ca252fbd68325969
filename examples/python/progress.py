"""Progress: what `progress_update` was given last is the `output` of /status while the job runs."""

import time

import runpod


def handler(job):
    steps = int(job["input"].get("steps", 3))
    for step in range(1, steps + 1):
        runpod.serverless.progress_update(job, {"step": step, "of": steps})
        time.sleep(float(job["input"].get("seconds", 0.2)))
    return {"steps": steps}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
