"""What a version answered to held-out images, and what these look like: what live traffic is compared with.

    reference.json   {"images": 5000, "measures": {"prediction": {"edges": [], "counts": [...]}, "confidence": ...}}

Written into the bundle where it is made. Bundles from before have none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from app.artifact import Manifest, require_intact
from app.errors import BrokenBundle
from app.image_statistics import NAMES, image_statistics

REFERENCE_FILE = "reference.json"

PREDICTION = "prediction"
CONFIDENCE = "confidence"
MEASURES = (PREDICTION, CONFIDENCE, *NAMES)

_CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Fixed: most confidences are near 1, where a tenth of them may lie within what another CPU rounds away."""
_TENTHS = np.linspace(0.1, 0.9, 9)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram of one measure."""

    edges: tuple[float, ...]
    """Ascending; a value belongs to the first bin whose edge it does not exceed, or to the last. Empty: classes."""
    counts: tuple[int, ...]
    """By bin, or by class id."""

    @property
    def names(self) -> list[str]:
        """Of the bins. Those of classes are the labels', which this does not know."""
        if not self.edges:
            return [str(each) for each in range(len(self.counts))]
        between = [f"{low:g} to {high:g}" for low, high in zip(self.edges, self.edges[1:], strict=False)]
        return [f"at most {self.edges[0]:g}", *between, f"above {self.edges[-1]:g}"]

    def count(self, values: np.ndarray) -> np.ndarray:
        """int64 [B]: how many of the values [N] are in each bin. Raises ValueError for a class that is not there."""
        bins = np.searchsorted(self.edges, values) if self.edges else values.astype(np.int64)
        counts = np.bincount(bins, minlength=len(self.counts))
        if len(counts) > len(self.counts):
            raise ValueError(f"there are {len(self.counts)} classes, and {bins.max()} is none of them")
        return counts


@dataclass(frozen=True, slots=True)
class Reference:
    images: int
    measures: Mapping[str, Distribution]
    """By name, those of `MEASURES`."""


def reference_of(images: np.ndarray, probabilities: np.ndarray) -> Reference:
    """images: uint8 [N, H, W, 3] RGB that were not trained on; probabilities: float32 [N, C]."""
    classes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    measures = {
        PREDICTION: Distribution((), tuple(classes.tolist())),
        CONFIDENCE: _binned(probabilities.max(1), _CONFIDENCE_EDGES),
    }
    for name, values in zip(NAMES, image_statistics(images).T, strict=True):
        # Rounded, so that what they say in a report is what they are. Of values that are all the same one edge is left.
        edges = np.unique(np.round(np.quantile(values, _TENTHS).astype(np.float64), 2))
        measures[name] = _binned(values, tuple(edges.tolist()))
    return Reference(len(images), measures)


def write_reference(folder: Path, reference: Reference) -> None:
    """Into a bundle that is sealed afterwards."""
    text = json.dumps(asdict(reference), indent=1)
    (folder / REFERENCE_FILE).write_text(text + "\n", encoding="utf-8")


def read_reference(folder: Path, manifest: Manifest) -> Reference | None:
    """None for a bundle without one. Raises BrokenBundle for one that is damaged, or not the manifest's."""
    if REFERENCE_FILE not in manifest.files:
        return None
    path = require_intact(folder, manifest, REFERENCE_FILE)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measures = {
            name: Distribution(tuple(map(float, each["edges"])), tuple(map(int, each["counts"])))
            for name, each in content["measures"].items()
        }
        return Reference(int(content["images"]), {name: measures[name] for name in MEASURES})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenBundle(f"bundle {folder}: {REFERENCE_FILE} cannot be read: {error!r}") from error


def _binned(values: np.ndarray, edges: tuple[float, ...]) -> Distribution:
    empty = Distribution(edges, (0,) * (len(edges) + 1))
    return Distribution(edges, tuple(empty.count(values).tolist()))
