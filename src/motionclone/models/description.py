"""Which parts make an AnimateDiff model, and where they are."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from motionclone.errors import InputError, in_one_line
from motionclone.models.places import could_be_hub_id, path_of
from motionclone.models.texts import read_mapping, said

PLACES = ("base", "motion_adapter", "dreambooth", "domain_adapter", "lora", "image_control", "sketch_control")

Place = Annotated[str, Field(min_length=1, max_length=4096)]
FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", max_length=200)]
"""Of a file in a folder or repository, not outside it."""
Sampler = Literal["ddim", "lcm", "euler-trailing"]


class ModelDescription(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """The parts of an AnimateDiff model: folders and files here, or repositories on the Hugging Face hub.

    On the hub they are organisation/name or organisation/name@revision; the revision is a commit, tag or branch.
    """

    base: Place
    """Stable Diffusion 1.x or XL in diffusers' layout: a folder with model_index.json, or on the hub."""
    motion_adapter: Place
    """A MotionAdapter (folder, or on the hub), or an original motion module file such as v3_sd15_mm.ckpt."""
    motion_adapter_file: FileName | None = None
    """The file of a folder or repository that has several, each a motion module of its own."""
    dreambooth: Place | None = None
    """A single-file checkpoint of Stable Diffusion 1.x; its UNet, VAE and text encoder take the place of the base's."""
    domain_adapter: Place | None = None
    """A LoRA that is merged into the UNet: an original file such as v3_sd15_adapter.ckpt, a folder, or on the hub."""
    domain_adapter_scale: float = Field(default=1.0, ge=-10, le=10)
    domain_adapter_for: Literal["pictures", "everything"] = "pictures"
    """When it is merged: where pictures or sketches are followed, as the authors do, or always."""
    lora: Place | None = None
    """A LoRA that is always merged into the UNet, such as one that makes few steps enough: likewise."""
    lora_file: FileName | None = None
    """The file of a folder or repository that has several."""
    lora_scale: float = Field(default=1.0, ge=-10, le=10)
    scheduler: Sampler = "ddim"
    """What goes through the steps, on the betas that AnimateDiff was trained with: models distilled to few steps have
    a sampler of their own."""
    image_control: Place | None = None
    """SparseCtrl for pictures: a folder, on the hub, or an original file such as v3_sd15_sparsectrl_rgb.ckpt."""
    sketch_control: Place | None = None
    """SparseCtrl for sketches, likewise."""

    @model_validator(mode="after")
    def _of_something(self) -> "ModelDescription":
        for name in self.model_fields_set:
            part = name.removesuffix("_file").removesuffix("_scale").removesuffix("_for")
            if part != name and getattr(self, name) is not None and getattr(self, part) is None:
                raise ValueError(f"{name} is about a {part}, and there is none; give one, or leave it out")
        return self


def read_model_description(path: str | Path) -> ModelDescription:
    """Read a .toml, .yaml or .yml file with the fields of ModelDescription.

    A relative path is relative to the file. What exists there is that path; what does not, but could be on the hub
    ("organisation/name"), is left as it is.

    Raises:
        InputError: it is not there, or no such file.
    """
    path = path_of(path)
    if not path.is_file():
        raise InputError(f"there is no model description {path}; check the path.")
    try:
        description = ModelDescription.model_validate(read_mapping(path, "model description"))
    except ValidationError as error:
        why = said(in_one_line(error, ModelDescription.model_fields))
        raise InputError(f"{path} is no model description ({why}).") from error
    places = {}
    for name in PLACES:
        place = getattr(description, name)
        if place is not None:
            here = path.parent / path_of(place)
            places[name] = str(here) if path_of(here).exists() or not could_be_hub_id(place) else place
    return description.model_copy(update=places)


def folder_description(folder: Path) -> ModelDescription:
    """A folder with base, motion_adapter and, if there are any, image_control and sketch_control."""
    parts = ("base", "motion_adapter", "image_control", "sketch_control")
    return ModelDescription.model_validate({name: str(folder / name) for name in parts if (folder / name).is_dir()})
