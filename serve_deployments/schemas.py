"""What a Serve config may say: the arguments of the applications.

They stay as they are while traffic changes, because Serve restarts an application whose arguments differ. Who answers
is the traffic file (`app/traffic_file.py`), the router's `user_config`: a changed one is applied in place.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from app.strict_model import Strict

MIB = 1024 * 1024


class ClassifierArgs(Strict):
    """Arguments of `serve_deployments.build:classifier`: one immutable model version."""

    bundle_uri: str
    """Folder of the bundle, `file:///...` or an absolute path that every node sees."""
    version: str
    """The registry's version, for logs and answers."""
    variant: str = "fp32"
    """Which graph of the bundle runs: fp32, int8, fp16."""
    threads: int = Field(default=1, ge=1)
    """ONNX Runtime threads of a replica. More replicas use cores better than more threads."""
    max_batch: int = Field(default=64, ge=1)
    """Images in one run of the graph; at least the router's `max_batch`."""
    batch_wait_s: float = Field(default=0.0, ge=0, le=1)
    """How long a call waits to be merged with calls of other routers. 0 does not merge.

    Measured with a 50 us model and two routers: at 0.5, 1 and 2 ms a lone client's median grew from 2 to
    4, 5 and 7 ms, and a request cost more CPU, not less. It pays only for models slower than the timer.
    """


class ControlArgs(Strict):
    """Arguments of `serve_deployments.build:control`."""

    answer_after_s: float = Field(default=5.0, gt=0, le=30)
    """Seconds that a change may take before the caller is told to ask again."""
    longest_window_s: float = Field(default=600.0, gt=0)
    """How far back windows reach."""


class RouterArgs(Strict):
    """Arguments of `serve_deployments.build:router`: limits and pace, never which model."""

    max_batch: int = Field(default=32, ge=1)
    """Images in one call to a classifier."""
    places_per_replica: int = Field(default=1, ge=1)
    """Calls in flight to each running classifier replica.

    1 makes larger batches: 0.55 ms of CPU a request against 0.66 with 2, at 32 clients and a 50 us model.
    """
    max_queued_images: int = Field(default=1024, ge=1)
    """Images that may wait for one version before requests are refused with 503."""
    call_timeout_s: float = Field(default=20.0, gt=0)
    """Seconds an image may wait for a place, and seconds a call may take with its retries."""
    retries: int = Field(default=2, ge=0)
    """Repetitions of a call whose replica died."""
    max_body_bytes: int = Field(default=32 * MIB, ge=1)
    """Largest request body; larger ones get 413."""
    max_body_bytes_in_all: int = Field(default=256 * MIB, ge=1)
    """Bodies in memory at the same time; beyond that requests get 503."""
    challenger_timeout_s: float = Field(default=2.0, gt=0)
    """Seconds a version may take before the champion answers in its place."""
    breaker_pause_s: float = Field(default=5.0, gt=0)
    """Seconds that a failing version gets no traffic before it is tried again."""
    max_shadow_images: int = Field(default=64, ge=1)
    """Copied images that may wait for a shadow; more are dropped."""
    cache_entries: int = Field(default=0, ge=0)
    """Answers that are remembered by image and version; 0 remembers none."""
    cache_ttl_s: float = Field(default=300.0, gt=0)
    max_logged_answers: int = Field(default=5000, ge=0)
    """Answers a second that feedback can be given to; beyond that they are left out."""
    allow_origins: tuple[str, ...] = ()
    """Web pages that may call the service from a browser (CORS): `https://example.org`, or `*`."""
    max_images: int = Field(default=256, ge=1)
    """Images in one /predict/batch request."""
    inline_pixels: int = Field(default=100_000, ge=0)
    """Requests with more pixels than this (all images together) are decoded in a thread.

    100,000 take 0.7 ms as JPEG and 2 ms as PNG or WebP; handing over to a thread takes 0.04 ms.
    """
    decode_threads: int = Field(default=2, ge=1)
    """Threads that decode what is too large for the event loop."""

    @model_validator(mode="after")
    def _a_full_request_fits(self) -> RouterArgs:
        if self.max_images > self.max_queued_images:
            raise ValueError("max_images is above max_queued_images: such a request could never be taken")
        if self.max_body_bytes > self.max_body_bytes_in_all:
            raise ValueError("max_body_bytes is above max_body_bytes_in_all: such a body could never be taken")
        return self
