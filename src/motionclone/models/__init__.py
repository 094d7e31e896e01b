"""From the name of a model to a diffusers pipeline that is ready to run.

Nothing here is needed to use motionclone: a pipeline of a supported family, made elsewhere, does as well.
"""

from motionclone.models.description import ModelDescription, read_model_description
from motionclone.models.devices import Offload
from motionclone.models.known import HubModel, meant, name_of, named_models
from motionclone.models.loading import load_pipeline

__all__ = [
    "HubModel",
    "ModelDescription",
    "Offload",
    "load_pipeline",
    "meant",
    "name_of",
    "named_models",
    "read_model_description",
]
