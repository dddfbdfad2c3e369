"""Typed settings of the jobs. The text under each field is its `--help`, here and in `manta`.

Light on purpose: the command line imports this without importing torch.
"""

from app.settings.conversion import (
    BatchPredictSettings,
    CascadeSettings,
    CompareSettings,
    ConvertSettings,
    EvaluateSettings,
    VerifySettings,
)
from app.settings.data import DataSettings
from app.settings.fit import DEFAULT_ARCHITECTURE, FitSettings
from app.settings.names import default_model_name, default_run_name, short
from app.settings.recipes import RECIPES, with_recipe, write_recipe
from app.settings.sweep import SweepSettings
from app.settings.training import (
    DistillSettings,
    LoopSettings,
    PipelineSettings,
    PruneSettings,
    RetrainSettings,
    RunSettings,
    TrainSettings,
)

__all__ = [
    "DEFAULT_ARCHITECTURE",
    "RECIPES",
    "BatchPredictSettings",
    "CascadeSettings",
    "CompareSettings",
    "ConvertSettings",
    "DataSettings",
    "DistillSettings",
    "EvaluateSettings",
    "FitSettings",
    "LoopSettings",
    "PipelineSettings",
    "PruneSettings",
    "RetrainSettings",
    "RunSettings",
    "SweepSettings",
    "TrainSettings",
    "VerifySettings",
    "default_model_name",
    "default_run_name",
    "short",
    "with_recipe",
    "write_recipe",
]
