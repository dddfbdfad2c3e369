"""What Python answers, for the engine to be compared with.

    python -m tests.engine.golden FOLDER

Writes `bundles/<name>/`, `images/`, `models/` (graphs that must be refused) and `golden.json` into FOLDER. Nothing of
it is committed: it is made anew by the Python, OpenCV and ONNX Runtime of the environment, in about ten seconds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits

from app.artifact import MODEL_FILE, ONNX_METADATA_KEY, InputSpec, Manifest, Variant, seal_for_onnx, write_manifest
from app.errors import BadImage
from app.imaging import RESIZE_RULE, decode, encode_png, resize
from app.inference import OnnxClassifier
from tests.app.pictures import (
    ANIMATION,
    FORMATS,
    JPEG_COMMENT,
    UNUSUAL_MASKS,
    USUAL_MASKS,
    encoded,
    forged_png,
    in_mode,
    rgb,
    smooth,
    with_more_scans,
)
from tests.bundles import write_colour_bundle

REPOSITORY = Path(__file__).parents[2]
CIFAR10 = Path(os.environ.get("MANTA_CIFAR10", REPOSITORY.parent / "shared" / "data" / "cifar10.zip"))
"""CIFAR-10 as a zip of class folders, where there is one."""
CIFAR10_IMAGES = 200
DIGITS = 100
SIDE = 32
LABELS = tuple(f"class {index} äöü" for index in range(10))


def write_golden(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    write_colour_bundle(folder / "bundles" / "colours")
    write_network_bundle(folder / "bundles" / "network")
    write_refused_models(folder / "models", folder / "bundles" / "colours" / MODEL_FILE)
    classifiers = {path.name: OnnxClassifier(path / MODEL_FILE) for path in sorted((folder / "bundles").iterdir())}
    entries = []
    for name, data in images():
        (folder / "images" / name).write_bytes(data)
        entries.append({"file": name, **answers(data, classifiers)})
    (folder / "golden.json").write_text(json.dumps(entries), encoding="utf-8")
    counts = f"{len(entries)} images, {sum('error' in entry for entry in entries)} of them to be refused"
    print(f"{counts}; CIFAR-10: {CIFAR10_IMAGES if CIFAR10.is_file() else f'none, {CIFAR10} is missing'}")


def answers(data: bytes, classifiers: dict[str, OnnxClassifier]) -> dict[str, Any]:
    try:
        image = decode(data)
    except BadImage as error:
        return {"error": str(error)}
    return {
        "height": image.shape[0],
        "width": image.shape[1],
        "answers": {name: answer(image, classifier) for name, classifier in classifiers.items()},
    }


def answer(image: np.ndarray, classifier: OnnxClassifier) -> dict[str, Any]:
    shape = classifier.manifest.input
    pixels = resize(image, shape.height, shape.width)
    return {
        "input_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "probabilities": classifier.predict(pixels[None])[0].tolist(),
    }


def images() -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of every kind: real ones, every format and mode, every orientation, odd sizes, broken ones."""
    digits = load_digits().images[:DIGITS]
    for index, digit in enumerate(digits):
        pixels = (digit * 255 / 16).astype(np.uint8)[..., None].repeat(3, 2)
        yield f"digit-{index:03}.png", encode_png(pixels)
    yield from cifar10_images()
    yield from images_of_every_mode()
    for image_format in ("JPEG", "PNG", "WEBP"):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x112] = orientation
            yield f"orientation-{orientation}.{image_format.lower()}", encoded(rgb(), image_format, exif=exif)
    yield from images_of_several_segments()
    yield from images_of_odd_sizes()
    yield from broken_images()


def cifar10_images() -> Iterator[tuple[str, bytes]]:
    if not CIFAR10.is_file():
        return
    with zipfile.ZipFile(CIFAR10) as archive:
        names = sorted(name for name in archive.namelist() if "/test/" in name and name.endswith(".jpg"))
        for name in names[:: max(1, len(names) // CIFAR10_IMAGES)][:CIFAR10_IMAGES]:
            yield "cifar10-" + "-".join(Path(name).parts[-2:]), archive.read(name)


def images_of_every_mode() -> Iterator[tuple[str, bytes]]:
    for image_format in FORMATS:
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK"):
            try:
                yield f"mode-{mode}.{image_format.lower()}", encoded(in_mode(mode), image_format)
            except OSError:
                continue
    yield "transparent-palette.png", encoded(in_mode("P"), "PNG", transparency=3)
    yield "four-colours.png", encoded(rgb().quantize(4), "PNG", bits=2)
    yield "lossy.webp", encoded(rgb(), "WEBP", lossless=False)
    yield "lossy-alpha.webp", encoded(in_mode("RGBA"), "WEBP", lossless=False)
    for channels in (1, 3, 4):
        sixteen = smooth(channels=channels).astype(np.uint16) * 257 - 77
        yield f"sixteen-bits-{channels}.png", cv2.imencode(".png", sixteen)[1].tobytes()
    for quality in (10, 50, 100):
        for subsampling in (0, 1, 2):
            yield (
                f"quality-{quality}-{subsampling}.jpg",
                encoded(rgb(61, 83), "JPEG", quality=quality, subsampling=subsampling),
            )
    yield "progressive.jpg", encoded(rgb(), "JPEG", progressive=True)
    yield "restart-markers.jpg", encoded(rgb(), "JPEG", restart_marker_blocks=2)


def images_of_several_segments() -> Iterator[tuple[str, bytes]]:
    """JPEG images with more in their application segments than EXIF data, as cameras and editors write them."""
    image = encoded(rgb(), "JPEG")
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    broken = b"Exif\0\0II\x2b\0"
    for name, contents in {
        "xmp-before-exif": (xmp, exif(6)),
        "xmp-alone": (xmp,),
        "broken-exif-before-exif": (broken, exif(6)),
        "two-exif": (exif(8), exif(3)),
        "unknown-orientation": (exif(9), exif(6)),
        "no-zeros-behind-exif": (b"Exif\1\1" + exif(6)[6:],),
    }.items():
        segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content for content in contents)
        yield f"{name}.jpg", image[:2] + segments + image[2:]


def exif(orientation: int) -> bytes:
    return b"Exif\0\0II" + struct.pack("<HIHHHIII", 42, 8, 1, 0x112, 3, 1, orientation, 0)


def images_of_odd_sizes() -> Iterator[tuple[str, bytes]]:
    for height, width in ((1, 1), (2, 3), (1, 300), (300, 1), (31, 33), (32, 32), (240, 320), (480, 640), (1080, 1920)):
        for image_format in FORMATS:
            yield f"size-{height}x{width}.{image_format.lower()}", encoded(rgb(height, width), image_format)
    yield "huge.jpg", encoded(rgb(400, 600).resize((6000, 4000)), "JPEG")


def broken_images() -> Iterator[tuple[str, bytes]]:
    for image_format in FORMATS:
        data = encoded(rgb(), image_format)
        yield f"cut-header.{image_format.lower()}", data[:14]
        yield f"cut-end.{image_format.lower()}", data[:-1]
        yield f"cut-half.{image_format.lower()}", data[: len(data) // 2]
        yield f"trailing.{image_format.lower()}", data + b"trailing"
    damaged = bytearray(encoded(rgb(), "PNG"))
    damaged[len(damaged) // 2] ^= 0xFF
    yield "damaged.png", bytes(damaged)
    for image_format in ("PNG", "WEBP"):
        yield f"animation.{image_format.lower()}", encoded(rgb(), image_format, **ANIMATION)
    for name, data in {**USUAL_MASKS, **UNUSUAL_MASKS}.items():
        yield f"masks-{name}.bmp", data
    progressive = encoded(rgb(), "JPEG", progressive=True)
    yield "many-scans.jpg", with_more_scans(progressive, 100 - progressive.count(b"\xff\xda"), JPEG_COMMENT)
    yield "too-many-scans.jpg", with_more_scans(progressive, 100, JPEG_COMMENT)
    yield "bomb.png", forged_png(100_000, 100_000)
    yield "no-pixels.png", forged_png(0, 10)
    yield "text.jpg", b"hello"
    yield "empty.jpg", b""


def write_network_bundle(folder: Path) -> None:
    """Random convolutions whose answers depend on every pixel: no class is ever certain."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        return numpy_helper.from_array((generator.standard_normal(shape) * scale).astype(np.float32), name)

    def constant(name: str, *values: float) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["floats", "mean"], ["centred"]),
            helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "first"], ["one"], pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Relu", ["one"], ["one_relu"]),
            helper.make_node("Conv", ["one_relu", "second"], ["two"], pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Relu", ["two"], ["two_relu"]),
            helper.make_node("Flatten", ["two_relu"], ["features"]),
            helper.make_node("Gemm", ["features", "third"], ["logits"], transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            constant("mean", 125, 123, 114),
            constant("scale", *[1 / 64] * 3),
            weights("first", 16, 3, 3, 3),
            weights("second", 32, 16, 3, 3),
            weights("third", len(LABELS), 32 * (SIDE // 4) ** 2),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    manifest = Manifest(
        name="network",
        architecture="random",
        labels=LABELS,
        input=InputSpec(height=SIDE, width=SIDE, resize=RESIZE_RULE),
        created="2026-01-01T00:00:00+00:00",
    )
    helper.set_model_props(model, {ONNX_METADATA_KEY: seal_for_onnx(manifest)})
    onnx.save(model, folder / MODEL_FILE)
    size = (folder / MODEL_FILE).stat().st_size
    variant = Variant(file=MODEL_FILE, bytes=size, accuracy=0.1, max_error=0.0)
    write_manifest(folder, dataclasses.replace(manifest, variants={"fp32": variant}))


def write_refused_models(folder: Path, good: Path) -> None:
    folder.mkdir()
    sealed = {entry.key: entry.value for entry in onnx.load(good).metadata_props}[ONNX_METADATA_KEY]
    manifest = Manifest.from_dict(json.loads(json.loads(sealed)["manifest"]))
    other_size = dataclasses.replace(manifest, input=InputSpec(height=9, width=9, resize=RESIZE_RULE))
    other_rule = dataclasses.replace(manifest, input=InputSpec(height=8, width=8, resize="letterbox"))
    seals = {
        "no_manifest": None,
        "changed_manifest": sealed.replace("mean_colour", "mean-colour"),
        "other_size": seal_for_onnx(other_size),
        "other_rule": seal_for_onnx(other_rule),
    }
    for name, seal in seals.items():
        model = onnx.load(good)
        del model.metadata_props[:]
        if seal is not None:
            helper.set_model_props(model, {ONNX_METADATA_KEY: seal})
        onnx.save(model, folder / f"{name}.onnx")


if __name__ == "__main__":
    write_golden(Path(sys.argv[1]))
