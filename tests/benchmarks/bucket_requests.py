"""Requests that a run makes to a bucket: python -m tests.benchmarks.bucket_requests [--documents N] [--files N]"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from tests.cluster.runs import config, finished, write_web
from tests.cluster.s3_server import serving


def main() -> None:
    """Counts the requests of one run of languages, quality, MinHash and rebalancing, everything in one bucket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=5000)
    parser.add_argument("--files", type=int, default=8)
    asked = parser.parse_args()
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        server.make_bucket("corpus")
        os.environ.update(server.environment())
        size = write_web("s3://corpus/in", asked.files, asked.documents)
        server.reset()
        text = config("s3://corpus/in", "s3://corpus/out", "s3://corpus/work", "dropped: none")
        finished(text, Path(folder), "--executor", "inline")
        told = {
            "input bytes": size,
            "files": asked.files,
            "requests": dict(server.requests),
            "bytes": dict(server.moved),
        }
        print(json.dumps({**told, "requests per file": round(sum(server.requests.values()) / asked.files, 1)}))


if __name__ == "__main__":
    main()
