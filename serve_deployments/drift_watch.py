"""Whether the champion still sees such images as it was measured on: looked at again and again, and written down."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.artifact import Manifest, local_folder, read_manifest
from app.drift import FEWEST_IMAGES, FeedbackDrift, MeasureDrift, compare, compare_feedback
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
FEEDBACK_WINDOW_S = 7 * 24 * 3600.0
"""Users tell later what an image was, and few of them do."""
_FEEDBACK = "feedback"
_STATE = "drift"
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
    """Below which nothing can be told."""
    reference_images: int
    measures: tuple[MeasureDrift, ...]
    feedback: FeedbackDrift | None
    """None where the bundle does not say how accurate the graph is."""
    drifting: Mapping[str, str]
    """What drifts, and how it did when it began."""

    def gauges(self) -> Gauges:
        gauges: Gauges = {("manta_drift_images", (self.version,)): float(self.images)}
        for each in self.measures:
            gauges["manta_drift_psi", (self.version, each.name)] = each.psi
        for name in (*MEASURES, _FEEDBACK):
            gauges["manta_drifted", (self.version, name)] = float(name in self.drifting)
        return gauges

    def as_values(self) -> dict[str, Any]:
        """For `GET /admin/drift`."""
        values = dataclasses.asdict(self)
        drifting = values.pop("drifting")
        return {**values, "drifted": list(drifting), "summary": list(drifting.values())}


@dataclass(slots=True)
class _State:
    """Of one bundle, on disk."""

    bundle_uri: str
    since: float
    """When it was first seen as the champion, in seconds since the epoch."""
    drifting: dict[str, str]


class DriftWatch:
    """Calls block, for some hundredths of a second: they belong into a thread. Raises what `LiveStore` raises."""

    def __init__(self, store: LiveStore, args: ControlArgs) -> None:
        self._store = store
        self._args = args
        self._known: tuple[str, Manifest, Reference | None] | None = None

    def look(self, champion: TrafficVersion, model: str) -> Drift:
        """Compares, and writes down among the decisions what is new of drift, or that some of it ended.

        Raises BadInput for a bundle without a reference, NotFound or BrokenBundle for one that cannot be read.
        """
        manifest, reference = self._reference(champion.bundle_uri)
        if reference is None:
            raise BadInput(
                f"{model}/{champion.version} was made before bundles said what held-out images look like: "
                f"make it anew with `manta convert {model}/{champion.version}`, and serve that"
            )
        until = time.time()
        state = self._state(champion.bundle_uri, until)
        since = until - self._args.drift_window_s
        observations = self._store.observations(champion.bundle_uri, since, most=MOST_IMAGES)
        table = np.array([each[2:] for each in observations], np.float64).reshape(-1, len(MEASURES))
        found = Drift(
            model=model,
            version=champion.version,
            since=observations[0].at if observations else since,
            until=until,
            images=len(table),
            fewest_images=self._args.drift_images,
            reference_images=reference.images,
            measures=tuple(
                compare(
                    reference,
                    dict(zip(MEASURES, table.T, strict=True)),
                    manifest.labels,
                    considerable=self._args.drift_psi,
                    fewest=self._args.drift_images,
                )
            ),
            feedback=self._feedback(champion, manifest, reference, max(state.since, until - FEEDBACK_WINDOW_S)),
            drifting={},
        )
        return dataclasses.replace(found, drifting=self._followed(state, found))

    def _followed(self, state: _State, found: Drift) -> dict[str, str]:
        """What drifts now. A measure that has drifted does so until it is well below the limit, and enough was seen."""
        begun = _begun(found)
        ended = [name for name in state.drifting if name not in begun and self._has_ended(name, found)]
        new = {name: text for name, text in begun.items() if name not in state.drifting}
        drifting = {name: text for name, text in {**state.drifting, **new}.items() if name not in ended}
        name = f"{found.model}/{found.version}"
        if new:
            self._note(f"{name} sees other images than it was measured on", "; ".join(new.values()))
        if ended:
            rest = f"; {', '.join(drifting)} still drifts" if drifting else ""
            self._note(f"{name} sees such images again as it was measured on", f"as before: {', '.join(ended)}{rest}")
        if drifting != state.drifting:
            self._save(dataclasses.replace(state, drifting=drifting))
        return drifting

    def _has_ended(self, name: str, found: Drift) -> bool:
        if name == _FEEDBACK:
            feedback = found.feedback
            # Its interval holds what was measured; of few labels any would.
            return feedback is not None and feedback.n >= FEWEST_IMAGES and feedback.high >= feedback.expected
        psi = {each.name: each.psi for each in found.measures}
        return found.images >= self._args.drift_images and psi[name] < self._args.drift_psi / 2

    def _note(self, what: str, why: str) -> None:
        logger.warning("%s: %s", what, why)
        self._store.add_decision("drift", what, why)

    def _state(self, bundle_uri: str, now: float) -> _State:
        text = self._store.text(_STATE)
        known = _State(**json.loads(text)) if text else None
        if known is not None and known.bundle_uri == bundle_uri:
            return known
        state = _State(bundle_uri, now, {})
        self._save(state)
        return state

    def _save(self, state: _State) -> None:
        self._store.save_text(_STATE, json.dumps(dataclasses.asdict(state)))

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
        """since: another model's version of that number may have answered before."""
        variant = manifest.variants.get(champion.variant)
        if variant is None or variant.accuracy is None:
            return None
        counts = self._store.counts(since, TESTED).get(champion.version)
        feedback = Feedback(counts.n, counts.correct) if counts else Feedback()
        return compare_feedback(feedback, variant.accuracy, reference.images)


def _begun(found: Drift) -> dict[str, str]:
    """What is over its limit at this look."""
    begun: dict[str, str] = {each.name: str(each) for each in found.measures if each.drifted}
    if found.feedback is not None and found.feedback.drifted:
        begun[_FEEDBACK] = str(found.feedback)
    return begun
