"""A load test of a running service: one client and several, growing batches, and a soak with memory over time.

    check every image once -> clients 1, 8, 32 -> batches of 1 to 32 -> soak

What is found is a `LoadResult`; `load_report` makes a page of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.client import CONTENT_TYPES, ServiceClient, batch_body
from app.errors import BadInput, ClusterError, NotFound
from app.http_connection import Address
from app.imaging import read_header
from app.load_generator import Load, Seen, latency_ms, send_load
from app.service_memory import ServiceMemory

MAX_IMAGES = 64
"""Different images that are sent in turns."""
BATCHES = 4
"""Different batches of each size."""
SAMPLES = 60
"""Of a soak, at most; one a second where that is fewer."""
TOO_BUSY = 0.8
"""Share of a core from which on the generator may have set the pace."""

Progress = Callable[["LoadRow"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    clients: tuple[int, ...] = (1, 8, 32)
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Images in one request; sent by one client."""
    seconds: float = 3.0
    """Of each row."""
    soak_seconds: float = 30.0
    """0 leaves the soak out."""
    soak_clients: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadImage:
    name: str
    data: bytes
    """As encoded as it came: JPEG, PNG, BMP or WebP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One kind of load. Latency is that of answers with status 200; without any it is empty."""

    name: str
    clients: int
    images: int
    """In each request."""
    answers: int = 0
    seconds: float = 0.0
    requests_per_second: float = 0.0
    images_per_second: float = 0.0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    """p50, p95, p99, max."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """By kind: refused, closed, timed out, HTTP 503."""
    generator_busy: float = 0.0
    """Share of one core that the generator took."""
    reason: str = ""
    """Why it was not measured."""

    @classmethod
    def of(cls, seen: Seen, *, name: str, clients: int, images: int) -> LoadRow:
        return cls(
            name=name,
            clients=clients,
            images=images,
            answers=seen.answered,
            seconds=round(seen.seconds, 3),
            requests_per_second=round(seen.rate, 2),
            images_per_second=round(images * seen.rate, 2),
            latency_ms=seen.latency_ms(),
            errors=dict(seen.errors),
            generator_busy=round(seen.busy, 3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakSample:
    """What happened since the sample before."""

    second: float
    """Since the start."""
    requests_per_second: float
    p99_ms: float | None
    errors: int
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    url: str
    model: str
    """What the service says it serves; "" where it does not."""
    model_version: str
    image_source: str
    different_images: int
    image_bytes: int
    """Mean size of an encoded image."""
    rows: tuple[LoadRow, ...]
    """The last one is the soak's, if there was one."""
    soak: tuple[SoakSample, ...]
    memory_reason: str
    """Why there is no memory over time; "" when there is."""
    generator_limit: float
    """Requests of one image that this generator could have sent in a second with a core of its own."""

    @property
    def memory_growth(self) -> int | None:
        """Bytes from the first sample of the soak to the last."""
        known = [sample.memory_bytes for sample in self.soak if sample.memory_bytes is not None]
        return known[-1] - known[0] if len(known) > 1 else None

    @property
    def busy_rows(self) -> list[LoadRow]:
        """Those whose pace the generator may have set."""
        return [row for row in self.rows if row.generator_busy > TOO_BUSY]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "memory_growth_bytes": self.memory_growth}


def run_load_test(
    url: str,
    plan: LoadPlan,
    images: Sequence[LoadImage] = (),
    *,
    source: str = "",
    on_row: Progress = lambda _row: None,
) -> LoadResult:
    """images: those to send; without any, synthetic ones of the service's input size. source: where they come from.

    Raises BadInput for an image that the service refuses, and ClusterError when it does not answer at all.
    """
    address = Address.of(url)
    with ServiceClient(url) as client:
        info = _model_info(client, needed=not images)
        if not images:
            height, width = info["input_shape"][1:3]
            images, source = synthetic_images(height, width), f"synthetic, {width}x{height} pixels"
        images = images[:MAX_IMAGES]
        _check_images(client, images)
        refusals = {size: _refusal(client, images, size) for size in plan.batch_sizes}
    rows, soak = asyncio.run(_measure(url, address, plan, images, refusals, on_row))
    singles = [row for row in rows if row.images == 1 and row.answers]
    if not singles:
        raise ClusterError(f"{url} answered none of the requests under load: {_most_frequent(rows)}")
    return LoadResult(
        url=url,
        model=info.get("model", ""),
        model_version=info.get("model_version", ""),
        image_source=source,
        different_images=len(images),
        image_bytes=round(sum(len(image.data) for image in images) / len(images)),
        rows=tuple(rows),
        soak=tuple(soak.samples) if soak else (),
        memory_reason=soak.memory_reason if soak else "there was no soak",
        generator_limit=round(max(row.requests_per_second / max(row.generator_busy, 0.001) for row in singles)),
    )


def synthetic_images(height: int, width: int, count: int = MAX_IMAGES) -> list[LoadImage]:
    """JPEGs of coarse random patterns, as large on disk as photographs of that size."""
    generator = np.random.default_rng(0)
    images = []
    for number in range(count):
        pattern = generator.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        smooth = cv2.resize(pattern, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = np.clip(smooth + generator.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        images.append(LoadImage(name=f"synthetic {number}", data=cv2.imencode(".jpg", noisy)[1].tobytes()))
    return images


def read_images(files: Sequence[Path]) -> list[LoadImage]:
    """At most MAX_IMAGES of them, spread over all."""
    chosen = files if len(files) <= MAX_IMAGES else [files[i * len(files) // MAX_IMAGES] for i in range(MAX_IMAGES)]
    return [LoadImage(name=str(file), data=file.read_bytes()) for file in chosen]


def _model_info(client: ServiceClient, *, needed: bool) -> dict[str, Any]:
    try:
        return client.get("/model/info")
    except NotFound:
        if needed:
            raise BadInput(f"{client.url} has no /model/info to read the input size from; pass --images") from None
        return {}


def _content_type(image: LoadImage) -> str:
    try:
        return CONTENT_TYPES[read_header(image.data).format]
    except BadInput as error:
        raise BadInput(f"{image.name}: {error}") from None


def _check_images(client: ServiceClient, images: Sequence[LoadImage]) -> None:
    """Each is sent once: what is refused would only measure how fast it is refused. It warms up, too."""
    for image in images:
        try:
            client.predict(image.data, _content_type(image))
        except BadInput as error:
            raise BadInput(f"{image.name}: {error}") from None


def _refusal(client: ServiceClient, images: Sequence[LoadImage], size: int) -> str:
    """Why the service does not take a batch of this size; "" when it does."""
    try:
        client.predict_batch(_batch(images, size, 0))
    except (BadInput, NotFound) as error:
        return str(error)
    return ""


def _batch(images: Sequence[LoadImage], size: int, number: int) -> list[bytes]:
    """The images go on where the batch before ended, and round again."""
    return [images[(number * size + index) % len(images)].data for index in range(size)]


async def _measure(
    url: str,
    address: Address,
    plan: LoadPlan,
    images: Sequence[LoadImage],
    refusals: Mapping[int, str],
    on_row: Progress,
) -> tuple[list[LoadRow], SoakRecorder | None]:
    rows: list[LoadRow] = []

    def add(row: LoadRow) -> None:
        rows.append(row)
        on_row(row)

    singles = [address.post("/predict", _content_type(image), image.data) for image in images]
    for clients in plan.clients:
        seen = await send_load(address, Load(requests=singles, clients=clients, seconds=plan.seconds))
        add(LoadRow.of(seen, name="single images", clients=clients, images=1))
    for size in plan.batch_sizes:
        if reason := refusals[size]:
            add(LoadRow(name="batches", clients=1, images=size, reason=reason))
            continue
        bodies = [batch_body(_batch(images, size, number), top_k=1) for number in range(BATCHES)]
        batches = [address.post("/predict/batch", "application/json", body) for body in bodies]
        seen = await send_load(address, Load(requests=batches, clients=1, seconds=plan.seconds))
        add(LoadRow.of(seen, name="batches", clients=1, images=size))
    if not plan.soak_seconds:
        return rows, None
    soak = Load(requests=singles, clients=plan.soak_clients, seconds=plan.soak_seconds)
    recorder = SoakRecorder(ServiceMemory(url), interval_s=max(1.0, plan.soak_seconds / SAMPLES))
    async with contextlib.aclosing(recorder):
        seen = await send_load(address, soak, beside=recorder.watch)
        await recorder.sample(seen)
    add(LoadRow.of(seen, name="soak", clients=plan.soak_clients, images=1))
    return rows, recorder


class SoakRecorder:
    """Looks at a load every few seconds, and asks the service how much memory it has."""

    def __init__(self, memory: ServiceMemory, *, interval_s: float) -> None:
        self._memory = memory
        self._interval_s = interval_s
        self._started = time.perf_counter()
        self._answers = self._errors = 0
        self._second = 0.0
        self._reason = ""
        self.samples: list[SoakSample] = []

    @property
    def memory_reason(self) -> str:
        """Why no sample has the memory."""
        return "" if any(sample.memory_bytes is not None for sample in self.samples) else self._reason

    async def watch(self, seen: Seen) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.sample(seen)

    async def sample(self, seen: Seen) -> None:
        """What was seen since the sample before."""
        reading = await self._memory.read()
        self._reason = reading.reason
        second = time.perf_counter() - self._started
        latencies, errors = seen.latencies[self._answers :], seen.failed - self._errors
        self.samples.append(
            SoakSample(
                second=round(second, 2),
                requests_per_second=round(len(latencies) / max(second - self._second, 1e-6), 2),
                p99_ms=latency_ms(latencies).get("p99"),
                errors=errors,
                memory_bytes=reading.bytes,
            )
        )
        self._answers, self._errors, self._second = seen.answered, seen.failed, second

    async def aclose(self) -> None:
        await self._memory.close()


def _most_frequent(rows: Sequence[LoadRow]) -> str:
    errors = [(count, kind) for row in rows for kind, count in row.errors.items()]
    return f"mostly {max(errors)[1]}" if errors else "there were none"
