"""Dynamic batching: jobs that arrive within a few milliseconds of each other share one call of the model.

The worker takes up to `BATCH` jobs at once; each handler puts its input into the open batch and awaits its own answer. Here
the "model" squares numbers and notes how many it was given together.
"""

import asyncio
import os

import runpod

BATCH = int(os.environ.get("BATCH", "8"))
WINDOW_S = float(os.environ.get("BATCH_WINDOW_MS", "50")) / 1000


def model(numbers):
    return [{"square": number * number, "batch_size": len(numbers)} for number in numbers]


class Batcher:
    def __init__(self):
        self.waiting = []
        self.timer = None

    async def answer(self, number):
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.waiting.append((number, future))
        if len(self.waiting) == 1:
            self.timer = loop.call_later(WINDOW_S, self.close)
        if len(self.waiting) == BATCH:
            self.timer.cancel()
            self.close()
        return await future

    def close(self):
        batch, self.waiting = self.waiting, []
        try:
            answers = model([number for number, _ in batch])
        except Exception as error:  # each of the jobs fails, with the model's own words
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers):
            if future.done():  # cancelled meanwhile
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


batcher = Batcher()


async def handler(job):
    return await batcher.answer(job["input"]["number"])


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda current: BATCH})
