"""Verbs about models and versions: models, versions, predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from app.cli.cluster_commands import Json
from app.cli.output import Output
from app.config import Home
from app.dataset_source import IMAGE_SUFFIXES
from app.errors import BadInput

if TYPE_CHECKING:
    from app.models.summary import LayerRow


def add_to(app: typer.Typer) -> None:
    for command in (models, versions, predict):
        app.command()(command)


def models(
    name: Annotated[str | None, typer.Argument(help="An architecture, for its layer table.")] = None,
    image_size: Annotated[int, typer.Option(min=1, max=1024, help="Side of the input in pixels.")] = 32,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    json: Json = False,
) -> None:
    """List architectures, or show one layer by layer.

    Example: manta models custom_cnn --image-size 64
    """
    output = Output(as_json=json)
    if name is None:
        _list_architectures(image_size, classes, output)
    else:
        _show_layers(name, image_size, classes, output)


def _list_architectures(image_size: int, classes: int, output: Output) -> None:
    from app.models import ARCHITECTURES

    table = Table("model", "parameters", "multiply-adds", "", box=None, pad_edge=False)
    listed = []
    for name, architecture in ARCHITECTURES.items():
        totals = _totals(_layers(name, image_size, classes))
        table.add_row(name, f"{totals['parameters']:,}", f"{totals['multiply_adds']:,}", architecture.summary)
        listed.append({"name": name, **totals})
    output.table(table)
    output.say(f"for one {image_size}x{image_size} image and {classes} classes")
    output.say("and any classification network of torchvision, as in torchvision:resnet18")
    output.next_commands("manta models custom_cnn", "manta train --model custom_cnn --data digits")
    output.result({"models": listed})


def _show_layers(name: str, image_size: int, classes: int, output: Output) -> None:
    rows = _layers(name, image_size, classes)
    totals = _totals(rows)
    table = Table("layer", "kind", "output shape", "parameters", "multiply-adds", box=None, pad_edge=False)
    for row in rows:
        shape = "x".join(map(str, row.output_shape))
        table.add_row(row.name, row.kind, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}")
    table.add_section()
    table.add_row("total", "", "", f"{totals['parameters']:,}", f"{totals['multiply_adds']:,}")
    output.table(table)
    output.next_commands(f"manta train --model {name} --data digits")
    layers = [
        {
            "name": row.name,
            "kind": row.kind,
            "output_shape": list(row.output_shape),
            "parameters": row.parameters,
            "multiply_adds": row.multiply_adds,
        }
        for row in rows
    ]
    output.result({"name": name, **totals, "layers": layers})


def _layers(architecture: str, image_size: int, classes: int) -> list[LayerRow]:
    from app.models import build_net
    from app.models.summary import layer_table

    size = (image_size, image_size)
    return layer_table(build_net(architecture, classes, size), size)


def _totals(rows: Sequence[LayerRow]) -> dict[str, int]:
    return {
        "parameters": sum(row.parameters for row in rows),
        "multiply_adds": sum(row.multiply_adds for row in rows),
    }


def versions(
    name: Annotated[str | None, typer.Argument(help="A model; all of them unless given.")] = None, json: Json = False
) -> None:
    """List versions, their aliases and measured accuracy.

    Example: manta versions digits
    """
    from app.registry import Registry

    output, found = Output(as_json=json), Registry(Home.from_env()).versions(name)
    if not found:
        output.say("the registry is empty")
        output.next_commands("manta pipeline --data digits")
    else:
        table = Table("version", "aliases", "accuracy", "model", "data", "created", box=None, pad_edge=False)
        for version in found:
            table.add_row(
                version.reference,
                ", ".join(version.aliases),
                accuracy_text(version.tags),
                version.tags.get("architecture", ""),
                version.tags.get("dataset", ""),
                f"{version.created:%Y-%m-%d %H:%M} UTC",
            )
        output.table(table)
        newest = found[0].reference
        output.next_commands(
            f"manta serve {newest}", f"manta evaluate {newest}", f"manta predict --model {newest} IMAGE"
        )
    output.result(
        {
            "versions": [
                {
                    "version": version.reference,
                    "aliases": list(version.aliases),
                    "bundle_uri": version.bundle_uri,
                    "created": version.created.isoformat(),
                    "tags": version.tags,
                }
                for version in found
            ]
        }
    )


def predict(
    paths: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.")],
    model: Annotated[
        str | None, typer.Option(help="A version (name/3, name@champion) to run here. Unless given, the only champion.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask this running service instead, as http://127.0.0.1:8000.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Answers for each image.")] = 1,
    json: Json = False,
) -> None:
    """Classify image files and folders.

    Runs a registered version here, or asks a running service with --url.

    Example: manta predict photo.jpg holiday/ --model digits@champion --top-k 3
    """
    if model and url:
        raise BadInput("give --model to run a version here, or --url to ask a service, not both")
    if url and "://" not in url:
        url = f"http://{url}"
    output = Output(as_json=json)
    files = list(image_files(paths))
    ask = _over_http(url, top_k) if url else _locally(model, top_k)
    answers: list[dict[str, Any]] = []
    for file in files:
        try:
            answers.append({"file": str(file), **ask(file)})
        except BadInput as error:
            answers.append({"file": str(file), "error": str(error)})
        output.say(_answer_line(answers[-1]))
    failed = sum("error" in answer for answer in answers)
    output.next_commands(f"curl -s {url}/model/info" if url else "manta versions")
    output.result({"predictions": answers, "failed": failed})
    if failed:
        raise BadInput(f"{failed} of {len(files)} files could not be classified")


def image_files(paths: list[Path]) -> Iterator[Path]:
    """Files as they are named, folders by the images in them. Raises BadInput for what does not exist."""
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
            if not found:
                raise BadInput(f"folder {path} holds no images")
            yield from found
        elif path.is_file():
            yield path
        else:
            raise BadInput(f"{path} does not exist")


def accuracy_text(tags: dict[str, str]) -> str:
    variants = {key.removeprefix("accuracy."): value for key, value in tags.items() if key.startswith("accuracy.")}
    return ", ".join(f"{name} {float(value):.2%}" for name, value in variants.items())


Ask = Callable[[Path], dict[str, Any]]


def _over_http(url: str, top_k: int) -> Ask:
    from app.client import CONTENT_TYPES, ServiceClient
    from app.imaging import read_header

    client = ServiceClient(url)
    client.get("/health")

    def ask(file: Path) -> dict[str, Any]:
        data = file.read_bytes()
        return client.predict(data, CONTENT_TYPES[read_header(data).format], top_k=top_k)

    return ask


def _locally(model: str | None, top_k: int) -> Ask:
    from app.artifact import open_bundle
    from app.imaging import load
    from app.inference import OnnxClassifier
    from app.predictions import top_predictions
    from app.registry import CHAMPION, Registry

    version = Registry(Home.from_env()).resolve(model or f"@{CHAMPION}")
    classifier = OnnxClassifier.from_bundle(open_bundle(version.folder))
    manifest = classifier.manifest

    def ask(file: Path) -> dict[str, Any]:
        image = load(file.read_bytes(), manifest.input.height, manifest.input.width)
        probabilities = classifier.predict(image[None])[0]
        return {
            "predictions": top_predictions(probabilities, manifest.labels, top_k),
            "model_version": version.version,
        }

    return ask


def _answer_line(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{answer['file']}: error: {answer['error']}"
    named = ", ".join(f"{each['class_name']} {each['confidence']:.1%}" for each in answer["predictions"])
    return f"{answer['file']}: {named}"
