"""The MLflow store that the registry lives in: opening it, its errors and its pages."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from app.config import Home
from app.errors import MantaError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def tracking_uri(home: Home) -> str:
    """What `MLFLOW_TRACKING_URI` names, or the SQLite file of the home folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(home.mlflow_database)


def open_client(home: Home) -> MlflowClient:
    """A client of the store, which is made first where there is none.

    Raises MantaError for a damaged one, and for a home folder that cannot be made.
    """
    _quiet()
    from mlflow import MlflowClient

    try:
        home.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MantaError(f"MANTA_HOME {home.root} cannot be used: {error.strerror}") from error
    uri = tracking_uri(home)
    if uri != _sqlite_uri(home.mlflow_database):
        with one_line_errors(uri):
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        with _exclusive(home.root / "mlflow.lock"):  # MLflow makes and migrates its tables without one
            if not home.mlflow_database.exists():
                _create(home)
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:  # SQLAlchemy's and alembic's many types
        reason = str(error).strip().partition("\n")[0]
        raise MantaError(f"the registry in {home.mlflow_database} cannot be opened: {reason}") from error


@contextlib.contextmanager
def one_line_errors(uri: str) -> Iterator[None]:
    """Whatever MLflow raises within leaves as a MantaError of one line that names the store."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        reason = str(error.message).partition("\n")[0]
        raise MantaError(f"the registry at {uri} answers: {reason}") from error


def every(search: Callable[..., Any], **criteria: Any) -> Iterator[Any]:
    """Everything that an MLflow search finds, page by page."""
    token = None
    while True:
        page = search(**criteria, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _create(home: Home) -> None:
    """Under another name until it is whole: MLflow cannot repair a database that was interrupted half-made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = home.mlflow_database.with_name(f".{home.mlflow_database.name}.partial")
    partial.unlink(missing_ok=True)
    store = SqlAlchemyStore(_sqlite_uri(partial), home.mlflow_artifacts.as_uri())
    store.engine.dispose()
    partial.rename(home.mlflow_database)


def _sqlite_uri(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"


@contextlib.contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """One process at a time; a killed one holds nothing back."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _quiet() -> None:
    """Unless told otherwise MLflow reports usage, narrates its migrations, and waits long for dead servers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Its default of 7 is four minutes of silence when nobody listens there.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    import mlflow  # noqa: F401  (it sets its own level when it is first imported)

    logging.getLogger("mlflow").setLevel(logging.WARNING)
