"""What sizes a model makes, and which preset is its family's: told by its configurations, before it is loaded."""

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
from accelerate import init_empty_weights

from motionclone.backbones.backbone import Backbone
from motionclone.backbones.families import backbone_of
from motionclone.models.configs import read_config
from motionclone.models.description import ModelDescription
from motionclone.models.known import MINI_DIT, HubModel
from motionclone.models.loading import find_model
from motionclone.models.networks import reading
from motionclone.models.places import locate
from motionclone.models.saved import read_index
from motionclone.models.texts import said


@dataclass(frozen=True)
class Sizes:
    """Sizes of videos that a model makes."""

    backbone: Backbone | None  # around a pipeline without weights; None where any number of frames will do

    def nearest(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """The nearest number of frames, height and width."""
        return (frames, height, width) if self.backbone is None else self.backbone.nearest_size(frames, height, width)

    def most(self, frames: int) -> int:
        """The largest number of frames up to this one; 0 if the model makes no video so short."""
        return next((count for count in range(frames, 1, -1) if self.nearest(count, 256, 256)[0] == count), 0)


def sizes_of(model: str | Path) -> Sizes:
    """Of a model as `load_pipeline` takes it. Only configurations are read, and fetched.

    Raises:
        InputError: as `load_pipeline`, of a model that is not there.
    """
    found = find_model(model)
    if model == MINI_DIT or isinstance(found, ModelDescription):
        return Sizes(None)
    if isinstance(found, HubModel):
        return Sizes(
            _bound(found.pipeline, found.network, found.transformer, found.autoencoder, found.vae, found.options)
        )
    index = read_index(found)
    if "transformer" not in index:
        return Sizes(None)
    options = {name: value for name, value in index.items() if name in ("expand_timesteps", "boundary_ratio")}
    with reading(said(found, 80)):
        network, autoencoder = (read_config_of(found, index, part) for part in ("transformer", "vae"))
        kinds = [index[part][1] for part in ("transformer", "vae")]
        return Sizes(_bound(index["_class_name"], kinds[0], network, kinds[1], autoencoder, options))


def read_config_of(place: str, index: dict[str, Any], part: str) -> dict[str, Any]:
    """The configuration of a network of a saved pipeline with that index; nothing else is fetched."""
    folder = locate(place, "model", [f"{part}/config.json"]).path / part
    return read_config(getattr(diffusers, index[part][1]), folder)


def _bound(
    pipeline: str, network: str, config: dict[str, Any], autoencoder: str, vae: dict[str, Any], options: dict[str, Any]
) -> Backbone:
    """The backbone of a pipeline without weights, of whose network there is but one layer."""
    kind = getattr(diffusers, pipeline)
    parameters = inspect.signature(kind).parameters
    kind_of_network = getattr(diffusers, network)
    few = {name: 1 for name in inspect.signature(kind_of_network).parameters if re.fullmatch(r"num_\w*layers", name)}
    with init_empty_weights():
        made = {
            "vae": getattr(diffusers, autoencoder).from_config(vae),
            "transformer": kind_of_network.from_config({**config, **few}),
        }
    if "guider" in parameters:
        made["guider"] = diffusers.ClassifierFreeGuidance()
    return backbone_of(kind(**{**dict.fromkeys(name for name in parameters if name not in options), **made}, **options))
