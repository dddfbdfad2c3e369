"""Versions, aliases and the promotion log, on MLflow with SQLite in a temporary home."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.artifact import (
    MANIFEST_FILE,
    MODEL_FILE,
    Lineage,
    Manifest,
    Variant,
    open_bundle,
    read_manifest,
    write_manifest,
)
from app.config import Home
from app.errors import BadInput, BrokenBundle, MantaError, NotFound
from app.promotions import Promotion, append_promotion, read_promotions
from app.registry import (
    CHALLENGER,
    CHAMPION,
    ModelVersion,
    Registry,
    parse_reference,
)
from tests.bundles import write_colour_bundle


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Model `pets` with three versions, the second its champion and the third its challenger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry(Home(tmp_path_factory.mktemp("registry") / "home"))
    versions = [register(registry, tmp_path_factory.mktemp("bundle") / "b", "pets") for _ in range(3)]
    registry.promote(versions[1], CHAMPION, who="test", why="good")
    registry.promote(versions[2], CHALLENGER, who="test", why="new")
    return registry


def register(registry: Registry, folder: Path, name: str) -> ModelVersion:
    manifest = write_colour_bundle(folder, name=name)
    return registry.register(registry.start_run("test", {}), folder, manifest)


def promotion(number: int, why: str = "because") -> Promotion:
    return Promotion(
        when="2026-01-01T00:00:00.000+00:00",
        who="me",
        model="pets",
        alias=CHAMPION,
        before=str(number - 1),
        after=str(number),
        why=why,
    )


def stored_bundles(home: Home) -> list[Path]:
    return sorted(home.mlflow_artifacts.glob("*/artifacts/*")) if home.mlflow_artifacts.exists() else []


# References


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("pets@champion", "pets/2"),
        ("pets@challenger", "pets/3"),
        ("pets/1", "pets/1"),
        ("pets", "pets/2"),
        ("3", "pets/3"),
        ("@challenger", "pets/3"),
        ("/1", "pets/1"),
        ("models:/pets/1", "pets/1"),
        ("models:/pets@champion", "pets/2"),
    ],
)
def test_every_form_of_reference(shared: Registry, reference: str, expected: str) -> None:
    assert shared.resolve(reference).reference == expected


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pets/9", "model 'pets' has no version 9"),
        ("pets/0", "model 'pets' has no version 0"),
        ("pets@nobody", "model 'pets' has no alias 'nobody'; `manta versions pets` lists what there is"),
        ("cars", "there is no model 'cars'"),
        ("cars/1", "there is no model 'cars'"),
        ("cars@champion", "there is no model 'cars'"),
        ("a:b", "there is no model 'a:b'"),
        ("pets/999999999999999999", "model 'pets' has no version 999999999999999999"),
    ],
)
def test_what_does_not_exist_is_not_found(shared: Registry, reference: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        shared.resolve(reference)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "reference", ["", "models:/", "pets/", "pets/x", "pets@", "a/b/c", "pets/1@champion", "pets/9" + "9" * 30, "a@b c"]
)
def test_what_is_no_reference_is_bad_input(shared: Registry, reference: str) -> None:
    with pytest.raises(BadInput, match="is no version: write name@alias"):
        shared.resolve(reference)


def test_parts_of_a_reference() -> None:
    assert parse_reference("my pets@champion") == ("my pets", "champion", None)
    assert parse_reference("pets/12") == ("pets", None, "12")
    assert parse_reference("12") == (None, None, "12")
    assert parse_reference("@a-b_c") == (None, "a-b_c", None)
    assert parse_reference("v2") == ("v2", None, None)


def test_without_a_name_there_must_be_one_model(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="the registry is empty"):
        registry.resolve("1")
    register(registry, tmp_path / "pets", "pets")
    assert registry.resolve("1").name == "pets"
    register(registry, tmp_path / "cars", "cars")
    with pytest.raises(BadInput, match=r"name the model, as in cars/1; there are: cars, pets"):
        registry.resolve("1")


# Versions


def test_a_registered_version(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    write_colour_bundle(folder, name="pets")
    lineage = Lineage(dataset="d", dataset_digest="e", git_commit="f", parent_version="pets/0", teacher="dogs/2")
    fields = fields_of(read_manifest(folder))
    refused = Variant(
        file="q.onnx", bytes=None, accuracy=None, max_error=None, status="rejected", reason="not faster: 2 to 1"
    )
    fields |= {"lineage": lineage, "variants": {**fields["variants"], "int8": refused}}
    manifest = write_manifest(folder, Manifest(**fields))
    run = registry.start_run("first", {"lr": 0.1, "epochs": None}, tags={"kind": "test"})
    version = registry.register(run, folder, manifest)
    assert (version.reference, version.run_id, version.aliases) == ("pets/1", run, ())
    assert version.tags == {
        "architecture": "mean_colour",
        "dataset": "d",
        "dataset_digest": "e",
        "git_commit": "f",
        "parent_version": "pets/0",
        "teacher": "dogs/2",
        "accuracy.fp32": "1.000000",
        "rejected.int8": "not faster: 2 to 1",
    }
    assert version.created.utcoffset() is not None
    shutil.rmtree(folder)
    assert open_bundle(version.folder).manifest == manifest, "the version has a copy of its own"
    assert registry.resolve("pets/1") == version


def fields_of(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__slots__}


def test_versions_are_listed_newest_first(shared: Registry) -> None:
    assert [(v.reference, v.aliases) for v in shared.versions("pets")] == [
        ("pets/3", (CHALLENGER,)),
        ("pets/2", (CHAMPION,)),
        ("pets/1", ()),
    ]
    assert shared.versions() == shared.versions("pets")
    assert shared.models() == ["pets"]
    with pytest.raises(NotFound, match="there is no model 'cars'"):
        shared.versions("cars")


def test_more_models_than_a_page_of_mlflow(registry: Registry) -> None:
    """Its pages hold 100 names."""
    names = [f"m{number:03}" for number in range(103)]
    for name in names:
        registry._client.create_registered_model(name)
    assert registry.models() == names
    assert registry.versions("m102") == []


@pytest.mark.parametrize("name", ["bob's pets", 'the "best"', "my pets", "öl"])
def test_names_of_any_letters(shared: Registry, tmp_path: Path, name: str) -> None:
    version = register(shared, tmp_path / "b", name)
    try:
        assert shared.resolve(f"{name}/1") == version
        assert shared.versions(name) == [version]
    finally:
        shared._client.delete_registered_model(name)


def test_a_home_of_any_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home(tmp_path / "my home #1 50%25 ü?")
    version = register(Registry(home), tmp_path / "b", "pets")
    assert version.folder.is_relative_to(home.root)
    open_bundle(version.folder)
    assert home.mlflow_database.is_file()


def test_registering_a_run_again_leaves_its_first_version_alone(registry: Registry, tmp_path: Path) -> None:
    """A run can be converted twice."""
    run = registry.start_run("test", {})
    first = registry.register(run, tmp_path / "a", write_colour_bundle(tmp_path / "a", name="pets"))
    other = write_colour_bundle(tmp_path / "b", name="pets", size=16)
    second = registry.register(run, tmp_path / "b", other)
    assert (first.version, second.version) == ("1", "2")
    assert open_bundle(first.folder).manifest.input.height == 8
    assert open_bundle(second.folder).manifest.input.height == 16


def test_a_byte_changed_after_writing_is_refused(registry: Registry, home: Home, tmp_path: Path) -> None:
    manifest = write_colour_bundle(tmp_path / "b", name="pets")
    changed = bytearray((tmp_path / "b" / MODEL_FILE).read_bytes())
    changed[100] ^= 1
    (tmp_path / "b" / MODEL_FILE).write_bytes(changed)
    with pytest.raises(BrokenBundle, match=r"model\.onnx was changed"):
        registry.register(registry.start_run("test", {}), tmp_path / "b", manifest)
    assert registry.models() == []
    assert stored_bundles(home) == []


def full_disk(_run: str, folder: str, place: str) -> None:
    raise OSError(28, "No space left on device")


def silent_loss(registry: Registry) -> Callable[[str, str, str], None]:
    """A copy that leaves out the manifest and the second half of the graph, without an error."""

    def copy(run: str, folder: str, place: str) -> None:
        target = Path(registry._client.get_run(run).info.artifact_uri.removeprefix("file://")) / place
        target.mkdir(parents=True)
        shutil.copyfile(Path(folder) / MANIFEST_FILE, target / MANIFEST_FILE)
        (target / MODEL_FILE).write_bytes((Path(folder) / MODEL_FILE).read_bytes()[:100])

    return copy


@pytest.mark.parametrize("silent", [False, True])
def test_a_copy_that_fails_leaves_no_version(
    registry: Registry, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    manifest = write_colour_bundle(tmp_path / "b", name="pets")
    run = registry.start_run("test", {})
    monkeypatch.setattr(registry._client, "log_artifacts", silent_loss(registry) if silent else full_disk)
    with pytest.raises((OSError, BrokenBundle), match=r"No space left|model\.onnx was changed"):
        registry.register(run, tmp_path / "b", manifest)
    assert registry.models() == []
    assert stored_bundles(home) == [], "the half that was copied is gone"


REGISTER_ONE = """
import sys
from pathlib import Path
from app.config import Home
from app.registry import Registry
from tests.bundles import write_colour_bundle

folder = Path(sys.argv[1])
manifest = write_colour_bundle(folder, name="pets")
print("ready", flush=True)
sys.stdin.readline()
registry = Registry(Home.from_env())
print(registry.register(registry.start_run("test", {}), folder, manifest).reference)
"""


def test_two_processes_register_at_once(home: Home, tmp_path: Path) -> None:
    """In a home that does not exist yet, so that both also make the database."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", REGISTER_ONE, str(tmp_path / name)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert sorted(answers) == ["pets/1\n", "pets/2\n"]
    folders = {version.folder for version in Registry(home).versions("pets")}
    assert len(folders) == 2
    for folder in folders:
        open_bundle(folder)


# Runs


def test_a_run_keeps_its_parameters_metrics_and_files(registry: Registry, tmp_path: Path) -> None:
    run = registry.start_run("first", {"lr": 0.1, "epochs": None}, tags={"kind": "test"})
    registry.log_metrics(run, {"loss": 2.0}, step=1)
    registry.log_metrics(run, {"loss": 1.0, "bad": float("nan")}, step=2)
    (tmp_path / "curves.png").write_bytes(b"picture")
    registry.log_file(run, tmp_path / "curves.png")
    registry.end_run(run, "KILLED")
    client = registry._client
    found = client.get_run(run)
    assert found.data.params == {"lr": "0.1", "epochs": "None"}
    assert found.data.tags["kind"] == "test"
    assert found.info.run_name == "first"
    assert found.info.status == "KILLED"
    assert [(m.step, m.value) for m in client.get_metric_history(run, "loss")] == [(1, 2.0), (2, 1.0)]
    assert [file.path for file in client.list_artifacts(run)] == ["curves.png"]
    registry.reopen_run(run)
    assert client.get_run(run).info.status == "RUNNING"


def test_what_is_still_open_below_a_run_is_ended(registry: Registry) -> None:
    parent, alone = registry.start_run("parent", {}), registry.start_run("alone", {})
    done, still_open = (registry.start_run(name, {}, parent=parent) for name in ("done", "open"))
    registry.end_run(done, "FINISHED")
    registry.end_children(parent, "KILLED")
    status = {run: registry._client.get_run(run).info.status for run in (parent, alone, done, still_open)}
    assert status == {parent: "RUNNING", alone: "RUNNING", done: "FINISHED", still_open: "KILLED"}


def test_a_run_is_found_below_its_parent_only(registry: Registry) -> None:
    """Under whichever name: one that was interrupted goes on as the same run."""
    parent, other = registry.start_run("parent", {}), registry.start_run("other", {})
    one, two = (registry.start_run(name, {}, parent=parent) for name in ("one", "two"))
    elsewhere = registry.start_run("one", {}, parent=other)
    registry.start_run("three", {})
    registry.end_run(two, "KILLED")
    assert [registry.child(parent, name) for name in ("one", "two", "three")] == [one, two, None]
    assert [registry.child(other, name) for name in ("one", "two")] == [elsewhere, None]


# Aliases and the log


def test_promotions_are_logged_in_order(registry: Registry, home: Home, tmp_path: Path) -> None:
    one, two = (register(registry, tmp_path / name, "pets") for name in ("one", "two"))
    registry.promote(one, CHAMPION, who="me", why="first")
    before = home.promotion_log.read_bytes()
    registry.promote(two, CHAMPION, who="ramp", why='better: "1 %"\nsurely')
    registry.promote(one, CHAMPION, who="me", why="rollback")
    assert home.promotion_log.read_bytes().startswith(before), "what was written stays"
    assert home.promotion_log.read_bytes().count(b"\n") == 3
    log = read_promotions(home.promotion_log)
    assert [(p.who, p.before, p.after, p.why) for p in log] == [
        ("me", "", "1", "first"),
        ("ramp", "1", "2", 'better: "1 %"\nsurely'),
        ("me", "2", "1", "rollback"),
    ]
    assert {(p.model, p.alias) for p in log} == {("pets", CHAMPION)}
    assert sorted(p.when for p in log) == [p.when for p in log]
    assert registry.resolve("pets").aliases == (CHAMPION,)
    assert registry.resolve("pets/2").aliases == ()


def test_an_alias_that_stays_is_not_logged(registry: Registry, home: Home, tmp_path: Path) -> None:
    version = register(registry, tmp_path / "one", "pets")
    for _ in range(2):
        registry.promote(version, CHAMPION, who="ann", why="better")
    assert len(read_promotions(home.promotion_log)) == 1


@pytest.mark.parametrize("alias_before", [True, False])
def test_a_promotion_that_cannot_be_logged_has_not_happened(
    registry: Registry, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, alias_before: bool
) -> None:
    first, second = (register(registry, tmp_path / name, "pets") for name in ("one", "two"))
    if alias_before:
        registry.promote(first, CHAMPION, who="ann", why="")
    before = read_promotions(home.promotion_log)

    def full(_log: Path, _promotion: Promotion) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("app.registry.append_promotion", full)
        with pytest.raises(MantaError, match="cannot be written: No space left on device"):
            registry.promote(second, CHAMPION, who="ann", why="")
    assert registry.resolve(second.reference).aliases == ()
    assert registry.resolve(first.reference).aliases == ((CHAMPION,) if alias_before else ())
    registry.promote(second, CHAMPION, who="ann", why="")
    after = read_promotions(home.promotion_log)
    assert [each.after for each in after[len(before) :]] == [second.version]


def test_a_line_that_does_not_fit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that is nearly full takes a part of it, and says so by the number of bytes alone."""

    class NearlyFull(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:100])

    log = tmp_path / "promotions.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, *_, **__: NearlyFull(path, "a+"))
        with pytest.raises(OSError, match="No space left on device"):
            append_promotion(log, promotion(1, why="y" * 500))
    append_promotion(log, promotion(2))
    assert read_promotions(log) == [promotion(2)]


def test_a_version_may_have_several_aliases(shared: Registry) -> None:
    version = shared.resolve("pets@challenger")
    shared.promote(version, "canary", who="test", why="more")
    assert shared.resolve("pets@canary").aliases == ("canary", CHALLENGER)


def test_an_alias_that_mlflow_refuses_is_one_line_and_not_logged(shared: Registry) -> None:
    version = shared.resolve("pets/1")
    logged = len(read_promotions(shared._home.promotion_log))
    with pytest.raises(MantaError, match=r"^the registry at sqlite:.*'latest' alias name.*reserved"):
        shared.promote(version, "latest", who="me", why="x")
    assert len(read_promotions(shared._home.promotion_log)) == logged


def test_no_log_is_no_promotions(tmp_path: Path) -> None:
    assert read_promotions(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize("cut", [1, 2, 20, 60, -1])
def test_a_line_that_a_crash_cut_off_costs_only_itself(tmp_path: Path, cut: int) -> None:
    """Anywhere in it, also within the two bytes of a letter; later lines are not joined to it."""
    log = tmp_path / "log.jsonl"
    append_promotion(log, promotion(1))
    start = log.stat().st_size
    append_promotion(log, promotion(2, why="ünder"))
    whole = log.read_bytes()
    end = whole.index("ü".encode()) + 1 if cut == -1 else start + cut
    log.write_bytes(whole[:end])
    assert read_promotions(log) == [promotion(1)]
    append_promotion(log, promotion(3))
    append_promotion(log, promotion(4))
    assert read_promotions(log) == [promotion(1), promotion(3), promotion(4)]
    assert log.read_bytes().startswith(whole[:end]), "nothing is rewritten"


def test_a_whole_line_that_only_lacks_its_end_counts(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_promotion(log, promotion(1))
    log.write_bytes(log.read_bytes()[:-1])
    append_promotion(log, promotion(2))
    assert read_promotions(log) == [promotion(1), promotion(2)]


def test_separators_of_other_alphabets_do_not_split_a_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_promotion(log, promotion(1, why="a\u2028b\x85c\x1ed"))
    assert [p.why for p in read_promotions(log)] == ["a\u2028b\x85c\x1ed"]
    assert len(json.loads(log.read_text(encoding="utf-8"))) == 7


# The store


def test_the_default_store_is_in_the_home_folder(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registry = Registry(home)
    version = register(registry, tmp_path / "b", "pets")
    assert registry.tracking_uri == f"sqlite:///{home.mlflow_database}"
    assert home.mlflow_database.is_file()
    assert version.folder.is_relative_to(home.mlflow_artifacts)


def test_mlflow_tracking_uri_names_another_store(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    registry = Registry(home)
    register(registry, tmp_path / "b", "pets")
    assert (tmp_path / "elsewhere.db").is_file()
    assert not home.mlflow_database.exists()
    assert Registry(home).models() == ["pets"]


class Server:
    """As much of an MLflow server's client as the making of an experiment takes."""

    def __init__(self, artifact_root: str | None = None) -> None:
        self.experiment = SimpleNamespace(experiment_id="1", artifact_location=artifact_root) if artifact_root else None

    def get_experiment_by_name(self, _name: str) -> SimpleNamespace | None:
        return self.experiment

    def create_experiment(self, _name: str, *, artifact_location: str | None) -> str:
        self.experiment = SimpleNamespace(experiment_id="2", artifact_location=artifact_location)
        return "2"

    def create_run(self, _experiment: str, **_options: Any) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(run_id="run"))

    def get_run(self, _run: str) -> SimpleNamespace:
        return SimpleNamespace(info=SimpleNamespace(artifact_uri="mlflow-artifacts:/1/run/artifacts"))

    def log_batch(self, _run: str, **_values: Any) -> None:
        pass


def registry_on(server: Server, home: Home, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setattr("app.registry.open_client", lambda _home: server)
    return Registry(home)


def test_files_lie_in_the_home_folder_also_with_a_server(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert registry_on(server, home, monkeypatch).start_run("first", {}) == "run"
    assert server.experiment is not None
    assert server.experiment.artifact_location == home.mlflow_artifacts.as_uri()


def test_a_server_that_keeps_files_itself_is_refused_before_a_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_on(Server("mlflow-artifacts:/1"), home, monkeypatch)
    with pytest.raises(MantaError, match=r"^the registry keeps files at mlflow-artifacts:/1, .* experiment 'manta'"):
        registry.start_run("first", {})
    with pytest.raises(MantaError, match=r"^the registry keeps files at mlflow-artifacts:/1/run/artifacts, "):
        registry.reopen_run("run")


@pytest.mark.parametrize("root", ["file:///shared/mlruns/1", "/shared/mlruns/1"])
def test_a_server_with_a_shared_folder_of_its_own_is_fine(
    home: Home, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    assert registry_on(Server(root), home, monkeypatch).start_run("first", {}) == "run"


def test_an_empty_mlflow_tracking_uri_is_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert Registry(home).tracking_uri == f"sqlite:///{home.mlflow_database}"


def test_a_server_that_does_not_answer_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(home)
    for call in (registry.models, lambda: registry.resolve("pets/1"), lambda: registry.start_run("x", {})):
        with pytest.raises(MantaError, match=r"^the registry at http://127\.0\.0\.1:1 answers: ") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_store_that_was_interrupted_half_made_is_made_again(home: Home) -> None:
    home.root.mkdir(parents=True)
    (home.root / ".mlflow.db.partial").write_bytes(b"SQLite format 3 and then the power went")
    assert Registry(home).versions() == []
    assert not (home.root / ".mlflow.db.partial").exists()


def test_a_damaged_store_is_one_line(home: Home) -> None:
    home.root.mkdir(parents=True)
    home.mlflow_database.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with pytest.raises(MantaError, match=r"mlflow\.db cannot be opened: ") as caught:
        Registry(home)
    assert "\n" not in str(caught.value)


def test_a_home_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MantaError, match=r"MANTA_HOME .* cannot be used"):
        Registry(Home(tmp_path / "file" / "home"))
