"""The domain of Manta: images, models, training, artifacts, registry. Knows nothing of jobs or deployments."""

__version__ = "0.1.0"
