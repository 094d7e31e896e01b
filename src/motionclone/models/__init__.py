"""From the name of a model to a diffusers pipeline that is ready to run.

Nothing here is needed to use motionclone: a pipeline of a supported family, made elsewhere, does as well. What models
there are is told without diffusers; `load_pipeline` brings it when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from motionclone.models.description import ModelDescription, read_model_description
from motionclone.models.known import HubModel, check_reachable, meant, name_of, named_models

if TYPE_CHECKING:
    from motionclone.models.loading import load_pipeline

__all__ = [
    "HubModel",
    "ModelDescription",
    "check_reachable",
    "load_pipeline",
    "meant",
    "name_of",
    "named_models",
    "read_model_description",
]


def __getattr__(name: str) -> Any:
    if name != "load_pipeline":
        raise AttributeError(f"module 'motionclone.models' has no attribute {name!r}")
    from motionclone.models.loading import load_pipeline

    return load_pipeline
