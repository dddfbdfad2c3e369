"""What the fuzzers of the engine start from: images of every kind, and requests of every kind.

    python -m tests.engine.fuzz_seeds FOLDER

Writes `golden/`, `image/` and `request/` into FOLDER. `engine/fuzz/request_fuzzer.cpp` says how a request is written.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.engine.golden import write_golden

PATHS = ("/predict", "/predict/batch", "/v2/models/colours/infer", "/v2/models/colours", "/v2/repository/index")
TYPES = {"application/json": 0, "image/png": 1, "application/octet-stream": 2, "multipart/form-data": 4}
LARGEST = 20_000
"""Bytes of an image: with larger ones the fuzzers are slow."""
NO_BINARY = 0xFFFF


def write_seeds(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    write_golden(folder / "golden")
    (folder / "image").mkdir()
    for path in (folder / "golden" / "images").iterdir():
        if path.stat().st_size <= LARGEST:
            shutil.copy(path, folder / "image" / path.name)
    (folder / "request").mkdir()
    for number, request in enumerate(requests()):
        (folder / "request" / f"{number:04}").write_bytes(request)


def requests() -> list[bytes]:
    """Those that the tests send to the server."""
    from tests.engine.test_protocol_v2 import BAD, GOOD
    from tests.engine.test_server import REQUESTS

    written = []
    for method, target, headers, body in [*REQUESTS, *GOOD, *BAD]:
        path = target.partition("?")[0]
        if method != "POST" or path not in PATHS:
            continue
        kind = TYPES.get(headers.get("content-type", "").partition(";")[0].lower(), 3)
        size = headers.get("inference-header-content-length", "")
        json_bytes = int(size) if size.isdecimal() and int(size) < NO_BINARY else NO_BINARY
        written.append(bytes([PATHS.index(path), kind]) + json_bytes.to_bytes(2) + body)
    return written


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
