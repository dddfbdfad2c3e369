"""Architectures, one file each, and the table of their names."""

from app.models.classifier import ImageClassifier, ServingModel, build_classifier, to_floats
from app.models.table import ARCHITECTURES, Architecture, architecture, build_net, own_dropout

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ImageClassifier",
    "ServingModel",
    "architecture",
    "build_classifier",
    "build_net",
    "own_dropout",
    "to_floats",
]
