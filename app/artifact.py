"""The model bundle: one folder that training writes and every runtime reads.

    model.onnx       input `images` uint8 [N, H, W, 3] RGB; output `probabilities` float32 [N, C]
    model.*.onnx     int8 and fp16 graphs, and
    *.tflite         TFLite files of the same signature, where they were asked for and passed their gates
    checkpoint.pt    weights only
    selftest.*       an image and the graphs' answers to it (`app/self_test.py`)
    reference.json   what held-out images look like and how they were answered (`app/reference.py`)
    manifest.json    what the model is, where it comes from, and the sha256 of every file

`manifest.json` carries the sha256 of its own text, and the part of it that does not depend on
files is embedded in `model.onnx` (metadata key `manta`), so a lone file still knows its labels.
A reader fails loudly: `BrokenBundle` names the file and what is wrong with it.

Imports neither torch nor mlflow: serving processes read bundles too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlparse

from app.errors import BrokenBundle, NotFound

SCHEMA_VERSION = 2
READABLE_SCHEMAS = (1, 2)
"""The first one knew less of variants; all that it lacks has a default."""
FORMER_FIELDS = frozenset({"latency_all_threads_ms"})
"""Of a variant, in manifests from before: nothing reads them any more."""
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
CHECKPOINT_FILE = "checkpoint.pt"
ONNX_METADATA_KEY = "manta"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the graph takes: uint8 RGB images of this height and width, in pixels."""

    height: int
    width: int
    resize: str
    """Name of the resize rule in `app.imaging` that training used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a model comes from."""

    dataset: str = ""
    """What it was trained on."""
    dataset_digest: str = ""
    measured_on: str = ""
    """Digest of the dataset whose test split the manifest's figures are of, where it is not what it was trained on."""
    git_commit: str = ""
    run_id: str = ""
    parent_version: str = ""
    command: str = ""
    """What was typed to train it."""
    teacher: str = ""
    """The version it was distilled from."""

    @property
    def measured_digest(self) -> str:
        """Of the dataset whose test split the manifest's figures are of."""
        return self.measured_on or self.dataset_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One graph and what was measured of it on held-out images. Of a rejected one the file is not in the bundle.

    Figures are None where there was nothing to measure: it could not be built.
    """

    file: str
    bytes: int | None
    accuracy: float | None
    """Share of the test split answered correctly, 0 to 1."""
    max_error: float | None
    """Largest difference of a probability from the PyTorch model's."""
    mean_error: float | None = None
    """Mean over the images of half the summed differences of their probabilities."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Median milliseconds of one run on one thread, by batch size ("1", "32")."""
    status: Literal["ok", "rejected"] = "ok"
    reason: str = ""
    """Why it was rejected, with the figures; or what the figures of an accepted one do not say."""
    made_with: dict[str, Any] = field(default_factory=dict)
    """How it was built: the way to quantize that was chosen, what else was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The card of a model version. `labels[i]` names output column i."""

    name: str
    architecture: str
    labels: tuple[str, ...]
    input: InputSpec
    created: str
    """ISO 8601 time, UTC."""
    lineage: Lineage = field(default_factory=Lineage)
    variants: dict[str, Variant] = field(default_factory=dict)
    """By variant name; `fp32` is always there in a finished bundle."""
    files: dict[str, str] = field(default_factory=dict)
    """sha256 of every other file of the bundle, by name."""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        return _text(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """Raises BrokenBundle for missing or unknown fields and for another schema version."""
        try:
            if values["schema_version"] not in READABLE_SCHEMAS:
                raise BrokenBundle(
                    f"manifest has schema version {values['schema_version']!r}, this Manta reads up to {SCHEMA_VERSION}"
                )
            return cls(
                **{
                    **values,
                    "labels": tuple(values["labels"]),
                    "input": InputSpec(**values["input"]),
                    "lineage": Lineage(**values["lineage"]),
                    "variants": {name: _variant(each) for name, each in values["variants"].items()},
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BrokenBundle(f"manifest is not complete: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on local disk whose checksums were verified."""

    folder: Path
    manifest: Manifest

    def variant_path(self, variant: str = "fp32") -> Path:
        """Raises NotFound when the bundle has no such variant, or when it was rejected."""
        known = self.manifest.variants
        if variant not in known:
            have = ", ".join(known) or "none"
            raise NotFound(f"bundle {self.folder} has no variant {variant!r} (it has: {have})")
        if known[variant].status == "rejected":
            raise NotFound(f"variant {variant!r} of bundle {self.folder} was rejected: {known[variant].reason}")
        return self.folder / known[variant].file


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Completes `manifest` with the sha256 of every file in `folder` and writes it there."""
    files = {
        path.name: sha256_of_file(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST_FILE
    }
    manifest = dataclasses.replace(manifest, files=files)
    (folder / MANIFEST_FILE).write_bytes(_sealed(dataclasses.asdict(manifest)))
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Reads `manifest.json` and checks its own checksum, not those of the files it names.

    Raises NotFound for a missing folder or manifest, BrokenBundle for a damaged one.
    """
    path = folder / MANIFEST_FILE
    try:
        content = path.read_bytes()
        values = json.loads(content)["manifest"]
        manifest = Manifest.from_dict(values)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no model bundle in {folder}: {MANIFEST_FILE} is missing") from error
    except (ValueError, KeyError, TypeError, BrokenBundle) as error:
        raise BrokenBundle(f"{path} is damaged: {error}") from error
    if content != _sealed(values):
        raise BrokenBundle(f"{path} was changed after it was written (checksum differs)")
    return manifest


def open_bundle(folder: Path) -> Bundle:
    """Reads a bundle and verifies every file. Raises NotFound or BrokenBundle."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BrokenBundle(f"bundle {folder}: {name} is missing")
        if sha256_of_file(path) != expected:
            raise BrokenBundle(f"bundle {folder}: {name} was changed after it was written (checksum differs)")
    return Bundle(folder, manifest)


def require_intact(folder: Path, manifest: Manifest, name: str) -> Path:
    """The file of that name in the bundle, which the manifest lists. Raises BrokenBundle unless it is that very one."""
    path = folder / name
    if not path.is_file() or sha256_of_file(path) != manifest.files[name]:
        raise BrokenBundle(f"bundle {folder}: {name} is missing or was changed (checksum differs)")
    return path


def seal_for_onnx(manifest: Manifest) -> str:
    """The one JSON value that goes into a graph's `metadata_props`: `{"sha256", "manifest"}`.

    `manifest` is a JSON text inside the JSON, so that a reader in any language can hash it as it stands.
    Files and measurements are left out: they are known only after the graph is written.
    """
    text = dataclasses.replace(manifest, files={}, variants={}).to_json()
    return json.dumps({"sha256": _digest(text), "manifest": text})


def open_onnx_seal(metadata: Mapping[str, str]) -> Manifest:
    """The manifest embedded in a graph, from ONNX Runtime's `custom_metadata_map`. Raises BrokenBundle."""
    if ONNX_METADATA_KEY not in metadata:
        raise BrokenBundle(f"the ONNX file carries no Manta manifest (metadata key {ONNX_METADATA_KEY!r})")
    try:
        sealed = json.loads(metadata[ONNX_METADATA_KEY])
        text, expected = sealed["manifest"], sealed["sha256"]
        if _digest(text) != expected:
            raise BrokenBundle("the manifest inside the ONNX file was changed (checksum differs)")
        return Manifest.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenBundle(f"the manifest inside the ONNX file is damaged: {error}") from error


def local_folder(uri: str) -> Path:
    """The folder that an immutable bundle URI (`file:///...` or an absolute path) names.

    Raises NotFound for a URI that this machine cannot see as a file.
    """
    if uri.startswith("/"):  # a path is taken as it is: "%", "#" and "?" are letters in it
        return Path(uri)
    parsed = urlparse(uri)
    if parsed.scheme != "file":
        raise NotFound(f"bundle {uri} is not on a file system this machine sees")
    return Path(unquote(parsed.path))


def _variant(values: Mapping[str, Any]) -> Variant:
    return Variant(**{name: value for name, value in values.items() if name not in FORMER_FIELDS})


def _sealed(values: Mapping[str, Any]) -> bytes:
    """The one text of `manifest.json` for the values in it, so that no byte of it can change unseen."""
    content = {"sha256": _digest(_text(values)), "manifest": values}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
