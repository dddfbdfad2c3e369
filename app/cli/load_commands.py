"""The verb that puts a running service under load: benchmark."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app.cli.cluster_commands import Json
from app.cli.model_commands import image_files
from app.cli.output import Output
from app.config import Home
from app.errors import BadInput
from app.settings.checks import require

MOST = 1024
"""Clients, and images in a request."""


def add_to(app: typer.Typer) -> None:
    app.command()(benchmark)


def benchmark(
    url: Annotated[str, typer.Argument(help="The service, as http://127.0.0.1:8000.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of images to send. Unless given, synthetic ones of the input size.")
    ] = None,
    clients: Annotated[str, typer.Option(help="Clients that send at the same time, one row each.")] = "1,8,32",
    batch_sizes: Annotated[
        str, typer.Option(help='Images in one request of one client, one row each; "" for none.')
    ] = "1,2,4,8,16,32",
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each row.")] = 3.0,
    soak: Annotated[
        float, typer.Option(min=0, help="Seconds of steady load at the end, with memory over time; 0 for none.")
    ] = 30.0,
    soak_clients: Annotated[int, typer.Option(min=1, max=MOST, help="Clients of the soak.")] = 8,
    report: Annotated[
        Path | None, typer.Option(help="File for the HTML page. Unless given, one below MANTA_HOME/reports.")
    ] = None,
    json: Json = False,
) -> None:
    """Put a running service under load: clients, batches, and a soak.

    Requests/s, latency, errors by kind, and the service's memory over time where its /metrics tells it, as a table
    and as an HTML page with plots. Needs no other program.

    Example: manta benchmark http://127.0.0.1:8000 --images holiday/ --soak 300
    """
    from app.load_report import COLUMNS, generator_text, memory_text, write_report
    from app.load_test import LoadPlan, LoadRow, read_images, run_load_test

    output = Output(as_json=json)
    url = (url if "://" in url else f"http://{url}").rstrip("/")
    plan = LoadPlan(
        clients=whole_numbers(clients, "--clients"),
        batch_sizes=whole_numbers(batch_sizes, "--batch-sizes"),
        seconds=seconds,
        soak_seconds=soak,
        soak_clients=soak_clients,
    )
    require(bool(plan.clients) or soak > 0, "--clients is empty, and there is no soak")
    sent = read_images(list(image_files([images]))) if images else []
    page = report or new_report(Home.from_env())
    require(page.parent.is_dir(), f"--report: there is no folder {page.parent}")

    def show(row: LoadRow) -> None:
        what = f"{row.name}, {row.clients} clients, {row.images} images a request"
        output.say(f"{what}: {row.reason or f'{row.images_per_second:,.0f} images/s'}")

    result = run_load_test(url, plan, sent, source=str(images or ""), on_row=show)
    write_report(result, page)
    table = Table("load", *(name for name, _ in COLUMNS), box=None, pad_edge=False)
    for row in result.rows:
        cells = [text(row) for _, text in COLUMNS] if not row.reason else [str(row.clients), str(row.images)]
        table.add_row(row.name, *cells)
    output.say("")
    output.table(table)
    output.say(f"\n{generator_text(result)}")
    output.facts("load test", [("service", url), ("memory", memory_text(result)), ("page", str(page))])
    output.next_commands(f"curl -s {url}/model/info", "manta status")
    output.result({**result.to_json(), "report": str(page)})


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Raises BadInput that names the option."""
    try:
        numbers = tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadInput(f"{option} {text!r:.80} must be whole numbers with commas between, as in 1,8,32") from None
    require(all(1 <= number <= MOST for number in numbers), f"{option} takes numbers from 1 to {MOST}")
    return tuple(dict.fromkeys(numbers))


def new_report(home: Home) -> Path:
    """Named after the time; its folder exists."""
    home.reports.mkdir(parents=True, exist_ok=True)
    return home.reports / f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}.html"
