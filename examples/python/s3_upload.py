"""Uploads a file to the bucket that the request names in `s3Config`, and answers with its signed address.

The credentials reach the handler and nobody else: they are in no answer, no webhook and no log.
"""

import os
import tempfile

import runpod
from runpod.serverless.utils.rp_upload import upload_file_to_bucket


def handler(job):
    bucket = job.get("s3Config")
    if not bucket:
        return {"error": "send `s3Config` beside `input`: accessId, accessSecret, bucketName, endpointUrl"}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(job["input"].get("text", ""))
        url = upload_file_to_bucket(
            "result.txt", path, bucket_creds=bucket, bucket_name=bucket["bucketName"], prefix=job["id"]
        )
    return {"url": url}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
