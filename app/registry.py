"""Model versions, aliases, training runs and the promotion log, on MLflow.

Default: SQLite and files under `MANTA_HOME`, no server. `MLFLOW_TRACKING_URI` names another store, and files still lie
in `MANTA_HOME`: replicas open them without MLflow.
Only drivers (jobs and the command line) write here; serving processes never import this module.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

from app.artifact import CHECKPOINT_FILE, Manifest, local_folder, open_bundle
from app.config import Home
from app.errors import BadInput, MantaError, NotFound
from app.mlflow_store import every, one_line_errors, open_client, tracking_uri
from app.promotions import Promotion, append_promotion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

P = ParamSpec("P")
R = TypeVar("R")

CHAMPION = "champion"
CHALLENGER = "challenger"
EXPERIMENT = "manta"
BUNDLE_ARTIFACT = "bundle"
PARENT_TAG = "mlflow.parentRunId"
LONGEST_TAG = 5000
"""Characters that MLflow takes."""
LARGEST_BATCH = 1000
"""Metrics that MLflow takes at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One immutable version. Aliases point at it and may move; its bundle never changes."""

    name: str
    version: str
    bundle_uri: str
    run_id: str
    aliases: tuple[str, ...]
    created: datetime
    tags: dict[str, str]

    @property
    def reference(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def folder(self) -> Path:
        """Raises NotFound when the bundle is not on a file system this machine sees."""
        return local_folder(self.bundle_uri)


def _version_tags(manifest: Manifest) -> dict[str, str]:
    """Where a version comes from, and what became of each of its variants."""
    lineage, variants = manifest.lineage, manifest.variants.items()
    return {
        "architecture": manifest.architecture,
        "dataset": lineage.dataset,
        "dataset_digest": lineage.dataset_digest,
        "git_commit": lineage.git_commit,
        "parent_version": lineage.parent_version,
        "teacher": lineage.teacher,
        "command": lineage.command[:LONGEST_TAG],
        "checkpoint_sha256": manifest.files.get(CHECKPOINT_FILE, ""),
        **{f"accuracy.{name}": f"{each.accuracy:.6f}" for name, each in variants if each.accuracy is not None},
        **{f"rejected.{name}": each.reason[:LONGEST_TAG] for name, each in variants if each.status == "rejected"},
    }


def _one_line(method: Callable[Concatenate[Registry, P], R]) -> Callable[Concatenate[Registry, P], R]:
    """Whatever MLflow raises leaves `method` as a MantaError of one line."""

    @functools.wraps(method)
    def call(self: Registry, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with one_line_errors(self.tracking_uri):
            return method(self, *args, **kwargs)

    return call


class Registry:
    """Raises MantaError with one clear line when the store cannot be reached."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.tracking_uri = tracking_uri(home)
        self._client = open_client(home)

    # Runs

    @_one_line
    def start_run(
        self, name: str, params: Mapping[str, Any], *, parent: str = "", tags: Mapping[str, str] | None = None
    ) -> str:
        """Opens a run, below another or on its own, and returns its id. `params` are recorded once, for good.

        Raises MantaError where the store would keep bundles in a place that nothing can be served from.
        """
        from mlflow.entities import Param

        tags = {"mlflow.source.name": "manta", **({PARENT_TAG: parent} if parent else {}), **(tags or {})}
        run = self._client.create_run(self._experiment(), run_name=name, tags=tags)
        self._client.log_batch(run.info.run_id, params=[Param(key, str(value)) for key, value in params.items()])
        return str(run.info.run_id)

    @_one_line
    def log_metrics(self, run_id: str, metrics: Mapping[str, float], *, step: int = 0) -> None:
        self.log_history(run_id, [(step, metrics)])

    @_one_line
    def log_history(self, run_id: str, steps: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """(step, metrics) of several steps in one transaction."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        logged = [Metric(key, value, now, step) for step, metrics in steps for key, value in metrics.items()]
        for start in range(0, len(logged), LARGEST_BATCH):
            self._client.log_batch(run_id, metrics=logged[start : start + LARGEST_BATCH])

    @_one_line
    def metric(self, run_id: str, name: str) -> float | None:
        """The last value that was logged."""
        value = self._client.get_run(run_id).data.metrics.get(name)
        return None if value is None else float(value)

    @_one_line
    def log_file(self, run_id: str, path: Path) -> None:
        self._client.log_artifact(run_id, str(path))

    @_one_line
    def end_run(self, run_id: str, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        self._client.set_terminated(run_id, status)

    @_one_line
    def end_children(self, run_id: str, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Ends whatever is still open below a run."""
        still_open = f"tags.`{PARENT_TAG}` = '{run_id}' and attributes.status = 'RUNNING'"
        experiments = [self._experiment()]
        for run in list(every(self._client.search_runs, experiment_ids=experiments, filter_string=still_open)):
            self.end_run(run.info.run_id, status)

    @_one_line
    def child(self, run_id: str, name: str) -> str | None:
        """The run of this name below another."""
        criteria = f"tags.`{PARENT_TAG}` = '{run_id}' and attributes.run_name = '{name}'"
        found = self._client.search_runs([self._experiment()], filter_string=criteria, max_results=1)
        return str(found[0].info.run_id) if found else None

    @_one_line
    def reopen_run(self, run_id: str) -> None:
        """An interrupted run goes on as the same one. Raises MantaError as `start_run` does."""
        _require_folder(self._client.get_run(run_id).info.artifact_uri)
        self._client.update_run(run_id, status="RUNNING")

    # Versions

    @_one_line
    def register(self, run_id: str, bundle: Path, manifest: Manifest) -> ModelVersion:
        """Logs the bundle as a whole and makes it the next version of `manifest.name`.

        The files are verified before and after the copy, so a full disk leaves no version behind.
        """
        open_bundle(bundle)
        uri = self._log_bundle(run_id, bundle)
        self._create_model(manifest.name)
        tags = _version_tags(manifest)
        version = self._client.create_model_version(
            manifest.name, source=uri, run_id=run_id, tags={key: value for key, value in tags.items() if value}
        )
        return _read(version, {})

    @_one_line
    def resolve(self, reference: str) -> ModelVersion:
        """Finds `name@alias`, `name/3`, `name` (its champion), or `3` / `@alias` when there is one model only.

        Raises NotFound for what does not exist and BadInput for a reference that is not one.
        """
        name, alias, number = parse_reference(reference)
        name = name or self._only_model()
        aliases = self._aliases(name)
        if number is None:
            alias = alias or CHAMPION
            if alias not in aliases:
                raise NotFound(f"model {name!r} has no alias {alias!r}; `manta versions {name}` lists what there is")
            number = aliases[alias]
        found = _or_none(lambda: self._client.get_model_version(name, number))
        if found is None:
            raise NotFound(f"model {name!r} has no version {number}")
        return _read(found, aliases)

    @_one_line
    def models(self) -> list[str]:
        return sorted(model.name for model in every(self._client.search_registered_models))

    @_one_line
    def versions(self, name: str | None = None) -> list[ModelVersion]:
        """Every version, newest first within each model. Raises NotFound for an unknown model."""
        found: list[ModelVersion] = []
        for model in [name] if name else self.models():
            aliases = self._aliases(model)
            quote = '"' if "'" in model else "'"
            stored = every(self._client.search_model_versions, filter_string=f"name={quote}{model}{quote}")
            found += sorted((_read(v, aliases) for v in stored), key=lambda v: int(v.version), reverse=True)
        return found

    # Aliases

    @_one_line
    def promote(self, version: ModelVersion, alias: str, *, who: str, why: str) -> None:
        """Points `alias` at the version and appends that to the promotion log, unless it points there already.

        Raises MantaError when the log cannot be written; the alias is then back where it was.
        """
        before = self._aliases(version.name).get(alias, "")
        if before == version.version:
            return
        self._client.set_registered_model_alias(version.name, alias, version.version)
        promotion = Promotion(
            when=datetime.now(UTC).isoformat(timespec="milliseconds"),
            who=who,
            model=version.name,
            alias=alias,
            before=before,
            after=version.version,
            why=why,
        )
        try:
            append_promotion(self._home.promotion_log, promotion)
        except OSError as error:
            if before:
                self._client.set_registered_model_alias(version.name, alias, before)
            else:
                self._client.delete_registered_model_alias(version.name, alias)
            raise MantaError(f"{self._home.promotion_log} cannot be written: {error.strerror or error}") from error

    def _log_bundle(self, run_id: str, bundle: Path) -> str:
        """Copies the bundle to a place of its own, never over that of another version. Returns its URI."""
        place = f"{BUNDLE_ARTIFACT}-{uuid.uuid4().hex[:8]}"  # a run can be converted, and so registered, again
        uri = f"{self._client.get_run(run_id).info.artifact_uri}/{place}"
        try:
            self._client.log_artifacts(run_id, str(bundle), place)
            open_bundle(local_folder(uri))
        except BaseException:
            with contextlib.suppress(NotFound):
                shutil.rmtree(local_folder(uri), ignore_errors=True)
            raise
        return uri

    def _experiment(self) -> str:
        """The experiment of all runs. It keeps files in the home folder, which every node sees, whatever the store."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                location = self._home.mlflow_artifacts.as_uri()
                return str(self._client.create_experiment(EXPERIMENT, artifact_location=location))
            except MlflowException:  # another driver was first
                found = self._client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        _require_folder(found.artifact_location)
        return str(found.experiment_id)

    def _create_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _only_model(self) -> str:
        names = self.models()
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFound("the registry is empty; `manta train` or `manta pipeline` makes a first version")
        raise BadInput(f"name the model, as in {names[0]}/1; there are: {', '.join(names)}")

    def _aliases(self, name: str) -> dict[str, str]:
        """Version numbers by alias. Raises NotFound for a model that does not exist."""
        model = _or_none(lambda: self._client.get_registered_model(name))
        if model is None:
            raise NotFound(f"there is no model {name!r}")
        return {alias: str(number) for alias, number in model.aliases.items()}


def _read(version: MlflowVersion, aliases: Mapping[str, str]) -> ModelVersion:
    number = str(version.version)
    return ModelVersion(
        name=version.name,
        version=number,
        bundle_uri=version.source or "",
        run_id=version.run_id or "",
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        tags=dict(version.tags),
    )


def _require_folder(artifacts: str) -> None:
    """Raises MantaError unless artifacts are kept in a folder: replicas open bundles as files, without MLflow."""
    try:
        local_folder(artifacts)
    except NotFound as error:
        raise MantaError(
            f"the registry keeps files at {artifacts}, from where nothing can be served: rename or delete its "
            f"experiment {EXPERIMENT!r}, and the next run makes one that keeps them in MANTA_HOME"
        ) from error


def _or_none(get: Callable[[], R]) -> R | None:
    """What `get` finds in MLflow, or None when there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return get()
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def parse_reference(reference: str) -> tuple[str | None, str | None, str | None]:
    """(name, alias, version number) of a reference; each may be None. Raises BadInput."""
    text = reference.removeprefix("models:/")
    found = re.fullmatch(
        r"(?:(?P<number>\d{1,18})|(?P<name>[^@/]+)?(?:/(?P<version>\d{1,18})|@(?P<alias>[\w-]+))?)", text
    )
    if not text or found is None:
        raise BadInput(f"{reference!r} is no version: write name@alias, name/3, name, or 3")
    return found["name"], found["alias"], found["number"] or found["version"]
