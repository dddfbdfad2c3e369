from pathlib import Path

import pytest

from app.config import Home
from cluster.environment import cluster_environment, ensure_token, read_token
from cluster.ports import ServePorts


@pytest.fixture
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who never used Ray. Returns where Ray looks for the token."""
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def test_a_token_is_made_once_and_only_the_user_can_read_it(no_token: Path) -> None:
    assert read_token() is None
    ensure_token()
    made = read_token()
    assert made is not None and len(made) == 64
    assert no_token.stat().st_mode & 0o777 == 0o600
    ensure_token()
    assert read_token() == made


def test_the_users_own_token_is_kept(no_token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    ensure_token()
    assert read_token() == "mine"
    assert not no_token.exists()


def test_a_token_file_named_by_the_user_is_read(
    no_token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert read_token() == "from-file"


def test_a_cluster_does_not_inherit_another_clusters_address(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    variables = cluster_environment(home, "m", tmp_path, ServePorts(20000), cores=2)
    assert "RAY_ADDRESS" not in variables
    assert variables["MLFLOW_TRACKING_URI"] == "http://tracking"
    assert Path(variables["MANTA_HOME"]).is_absolute()


def test_every_serve_flag_is_one_that_the_installed_ray_reads(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renamed flag would be ignored in silence."""
    from ray.serve._private import constants

    source = Path(constants.__file__).read_text(encoding="utf-8")
    variables = cluster_environment(home, "m", tmp_path, ServePorts(20000), cores=2)
    flags = [name for name in variables if name.startswith("RAY_SERVE_")]
    assert len(flags) > 10
    assert [flag for flag in flags if f'"{flag}"' not in source] == []


def test_no_training_starts_a_watcher_for_reclaimed_nodes(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user asks for it; a renamed flag would be ignored in silence."""
    from ray.train.v2._internal import constants

    flag = constants.ENABLE_PREEMPTION_WATCHER_ENV_VAR
    monkeypatch.delenv(flag, raising=False)
    assert cluster_environment(home, "m", tmp_path, ServePorts(20000), cores=2)[flag] == "0"
    monkeypatch.setenv(flag, "1")
    assert cluster_environment(home, "m", tmp_path, ServePorts(20000), cores=2)[flag] == "1"
