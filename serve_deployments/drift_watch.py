"""Whether the champion still sees such images as it was measured on: looked at again and again, and written down."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.artifact import Manifest, local_folder, read_manifest
from app.drift import FeedbackDrift, MeasureDrift, compare, compare_feedback
from app.errors import BadInput
from app.feedback import Feedback
from app.reference import MEASURES, Reference, read_reference
from app.traffic_file import TrafficVersion
from serve_deployments.assignment import TESTED
from serve_deployments.live_store import LiveStore
from serve_deployments.metrics import Gauges
from serve_deployments.schemas import ControlArgs

logger = logging.getLogger("ray.serve")

MOST_IMAGES = 20_000
"""That are compared: more would take longer and change nothing."""
_FEEDBACK = "feedback"
_DRIFTING = "drifting"
"""Name of the text in the store."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The champion's traffic of the last hour, say, against its bundle's reference."""

    model: str
    version: str
    since: float
    until: float
    """Both in seconds since the epoch."""
    images: int
    fewest_images: int
    """Below which there is no drift."""
    reference_images: int
    measures: tuple[MeasureDrift, ...]
    feedback: FeedbackDrift | None
    """None where the bundle does not say how accurate the graph is."""

    @property
    def drifted(self) -> dict[str, str]:
        """What drifted, and how."""
        found: dict[str, str] = {each.name: str(each) for each in self.measures if each.drifted}
        if self.feedback is not None and self.feedback.drifted:
            found[_FEEDBACK] = str(self.feedback)
        return found

    def gauges(self) -> Gauges:
        drifted = self.drifted
        gauges: Gauges = {("manta_drift_images", (self.version,)): float(self.images)}
        for each in self.measures:
            gauges["manta_drift_psi", (self.version, each.name)] = each.psi
        for name in (*MEASURES, _FEEDBACK):
            gauges["manta_drifted", (self.version, name)] = float(name in drifted)
        return gauges

    def as_values(self) -> dict[str, Any]:
        """For `GET /admin/drift`."""
        return {**dataclasses.asdict(self), "drifted": list(self.drifted), "summary": list(self.drifted.values())}


class DriftWatch:
    """Calls block, for some hundredths of a second: they belong into a thread. Raises what `LiveStore` raises."""

    def __init__(self, store: LiveStore, args: ControlArgs) -> None:
        self._store = store
        self._args = args
        self._known: tuple[str, Manifest, Reference | None] | None = None

    def look(self, champion: TrafficVersion, model: str) -> Drift:
        """Raises BadInput for a bundle without a reference, NotFound or BrokenBundle for one that cannot be read."""
        manifest, reference = self._reference(champion.bundle_uri)
        if reference is None:
            raise BadInput(
                f"{model}/{champion.version} was made before bundles said what held-out images look like: "
                f"make it anew with `manta convert {model}/{champion.version}`, and serve that"
            )
        until = time.time()
        since = until - self._args.drift_window_s
        observations = self._store.observations(champion.bundle_uri, since, most=MOST_IMAGES)
        table = np.array([each[2:] for each in observations], np.float64).reshape(-1, len(MEASURES))
        measures = compare(
            reference,
            dict(zip(MEASURES, table.T, strict=True)),
            manifest.labels,
            considerable=self._args.drift_psi,
            fewest=self._args.drift_images,
        )
        return Drift(
            model=model,
            version=champion.version,
            since=since,
            until=until,
            images=len(table),
            fewest_images=self._args.drift_images,
            reference_images=reference.images,
            measures=tuple(measures),
            feedback=self._feedback(champion, manifest, reference, observations[0].at if observations else until),
        )

    def follow(self, champion: TrafficVersion, found: Drift) -> None:
        """Writes down among the decisions what is new of drift, or that it ended.

        A measure that has drifted does so until it is well below the limit: one that lies at the limit says it once.
        """
        text = self._store.text(_DRIFTING)
        known: dict[str, list[str]] = json.loads(text) if text else {}
        before = set(known.get(champion.bundle_uri, ()))
        drifted = found.drifted
        psi = {each.name: each.psi for each in found.measures}
        still = {name for name in before - drifted.keys() if psi.get(name, 0.0) >= self._args.drift_psi / 2}
        now = drifted.keys() | still
        if now == before:
            return
        name = f"{found.model}/{found.version}"
        if new := [drifted[each] for each in drifted if each not in before]:
            self._note(f"{name} sees other images than it was measured on", "; ".join(new))
        elif not now:
            self._note(
                f"{name} sees such images again as it was measured on", f"as before: {', '.join(sorted(before))}"
            )
        self._store.save_text(_DRIFTING, json.dumps({champion.bundle_uri: sorted(now)}))

    def _note(self, what: str, why: str) -> None:
        logger.warning("%s: %s", what, why)
        self._store.add_decision("drift", what, why)

    def _reference(self, bundle_uri: str) -> tuple[Manifest, Reference | None]:
        """Bundles never change, so each is read once."""
        if self._known is None or self._known[0] != bundle_uri:
            folder = local_folder(bundle_uri)
            manifest = read_manifest(folder)
            self._known = (bundle_uri, manifest, read_reference(folder, manifest))
        return self._known[1:]

    def _feedback(
        self, champion: TrafficVersion, manifest: Manifest, reference: Reference, since: float
    ) -> FeedbackDrift | None:
        """since: a version of the same number may have answered before."""
        variant = manifest.variants.get(champion.variant)
        if variant is None or variant.accuracy is None:
            return None
        counts = self._store.counts(since, TESTED).get(champion.version)
        feedback = Feedback(counts.n, counts.correct) if counts else Feedback()
        return compare_feedback(feedback, variant.accuracy, reference.images)
