"""The builders that a Serve config names, and the fragments that name them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve.schema import ServeApplicationSchema

from app.config import CPU
from serve_deployments import build
from serve_deployments.schemas import ClassifierArgs

FRAGMENTS = Path(__file__).parents[2] / "cluster" / "serve"


def options_of(import_path: str, args: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Name, config and actor options of the deployment, built the way Serve builds it."""
    module, builder = import_path.split(":")
    built: Any = call_user_app_builder_with_args_if_necessary(getattr(importlib.import_module(module), builder), args)
    deployment = built._bound_deployment
    return deployment.name, deployment._deployment_config, deployment.ray_actor_options


@pytest.mark.parametrize("name", ["router", "classifier"])
def test_fragments_are_what_serve_takes(name: str) -> None:
    fragment = yaml.safe_load((FRAGMENTS / f"{name}.yaml").read_text())
    application = ServeApplicationSchema.model_validate(fragment)
    deployment, config, actor = options_of(application.import_path, application.args)
    assert [each.name for each in application.deployments] == [deployment]
    assert config.max_ongoing_requests >= 100
    assert actor["num_cpus"] == getattr(CPU, name)


def test_a_replica_takes_more_calls_than_its_batch_has_images() -> None:
    """Serve counts the merged batch in images and the limit in calls, and warns when the limit is lower."""
    args = ClassifierArgs(bundle_uri="/b", version="1", max_batch=500)
    config = build.classifier(args)._bound_deployment._deployment_config
    assert config.max_ongoing_requests >= 500


@pytest.mark.parametrize("args", [{"replicas": 3}, {"max_batch": 0}, {"max_batch": "many"}])
def test_misspelt_and_wrong_arguments_are_refused(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options_of("serve_deployments.build:router", args)
