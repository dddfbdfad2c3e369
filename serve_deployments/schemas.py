"""What a Serve config may say: the arguments of the applications.

They stay as they are while traffic changes, because Serve restarts an application whose arguments differ. Who answers
is the traffic file (`app/traffic_file.py`), the router's `user_config`: a changed one is applied in place.
"""

from __future__ import annotations

from pydantic import Field

from app.drift import CONSIDERABLE, FEWEST_IMAGES
from app.service_options import ServiceOptions
from app.strict_model import Strict


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
    take_up_s: float = Field(default=5.0, ge=0, le=60)
    """Seconds in which every router has to report a change in effect; otherwise the answer names it."""
    longest_window_s: float = Field(default=600.0, gt=0)
    """How far back windows of counts reach."""
    least_trial_s: float = Field(default=3600.0, ge=0)
    """How long an A/B test has to run before it may decide without asking anybody."""
    drift_every_s: float = Field(default=60.0, gt=0)
    """Between two looks for drift."""
    drift_window_s: float = Field(default=3600.0, gt=0, le=7 * 24 * 3600)
    """How much of the traffic is compared with the bundle's reference."""
    drift_images: int = Field(default=FEWEST_IMAGES, ge=1)
    """Images in that window below which there is no drift."""
    drift_psi: float = Field(default=CONSIDERABLE, gt=0)
    """Population stability index from which on a change of a measure is drift, if chance does not explain it."""


class RouterArgs(ServiceOptions):
    """Arguments of `serve_deployments.build:router`: what a user may set, and what is measured once and left alone."""

    max_batch: int = Field(default=32, ge=1)
    """Images in one call to a classifier."""
    places_per_replica: int = Field(default=2, ge=1)
    """Calls in flight to each running classifier replica.

    With 1 a router stands still while its only batch is computed, and the classifier while answers are handed out. At
    32 clients and a 50 us model: 1,980 requests/s with 1, 2,510 with 2, and with 3 batches are smaller for nothing.
    """
    retries: int = Field(default=2, ge=0)
    """Repetitions of a call whose replica died."""
    breaker_pause_s: float = Field(default=5.0, gt=0)
    """Seconds that a failing version gets no traffic before it is tried again."""
    max_shadow_images: int = Field(default=64, ge=1)
    """Copied images that may wait for a shadow; more are dropped."""
    max_logged_answers: int = Field(default=5000, ge=0)
    """Answers a second that feedback can be given to; beyond that they are left out."""
    observed_images_per_s: float = Field(default=5.0, ge=0, le=1000)
    """Images a second that are looked at for drift, by each router."""
    inline_pixels: int = Field(default=100_000, ge=0)
    """Requests with more pixels than this (all images together) are decoded in a thread.

    100,000 take 0.7 ms as JPEG and 2 ms as PNG or WebP; handing over to a thread takes 0.04 ms.
    """
    decode_threads: int = Field(default=2, ge=1)
    """Threads that decode what is too large for the event loop."""
