"""Application builders: the import paths that a Serve config names.

    import_path: serve_deployments.build:router
    import_path: serve_deployments.build:classifier
    import_path: serve_deployments.build:control

Replica counts, and whether they follow the load, are the config's: its `deployments` section.
"""

# No `from __future__ import annotations` here: Serve reads the parameter's class from the annotation
# itself, and would pass the raw dictionary where it finds a string.

from ray import serve

from app.config import CPU
from serve_deployments.classifier import Classifier
from serve_deployments.control import Control
from serve_deployments.router import Router
from serve_deployments.schemas import ClassifierArgs, ControlArgs, RouterArgs


def router(args: RouterArgs) -> serve.Application:
    """The ingress. Its `user_config` is the traffic file."""
    deployment = serve.deployment(
        name="Router",
        ray_actor_options={"num_cpus": CPU.router},
        # Serve answers in plain text when this is reached; our own bound of the queue comes first, in JSON.
        max_ongoing_requests=max(2048, 2 * args.max_queued_images),
        max_surge_percent=100,
    )
    return deployment(Router).bind(args)


def classifier(args: ClassifierArgs) -> serve.Application:
    """One model version, without a route: only routers call it."""
    deployment = serve.deployment(
        name="Classifier",
        ray_actor_options={"num_cpus": CPU.classifier},
        # Far above what routers send (their places), because at this limit a whole batch would be refused.
        max_ongoing_requests=max(128, 2 * args.max_batch),
        max_surge_percent=100,
    )
    return deployment(Classifier).bind(args)


def control(args: ControlArgs) -> serve.Application:
    """The owner of live state, without a route."""
    deployment = serve.deployment(
        name="Control",
        ray_actor_options={"num_cpus": CPU.control},
        max_ongoing_requests=1000,
        num_replicas=1,
        # Serve calls `reconfigure` only when there is a user_config; control starts its watch there.
        user_config={},
    )
    return deployment(Control).bind(args)
