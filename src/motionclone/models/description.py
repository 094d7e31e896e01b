"""Which parts make an AnimateDiff model, and where they are."""

import tomllib
from pathlib import Path
from re import fullmatch

import yaml
from pydantic import BaseModel, ValidationError

from motionclone.errors import InputError
from motionclone.models.checkpoints import WEIGHT_SUFFIXES
from motionclone.models.parts import said

PLACES = ("base", "motion_adapter", "dreambooth", "domain_adapter", "image_control", "sketch_control")


class ModelDescription(BaseModel, frozen=True, extra="forbid"):
    """The parts of an AnimateDiff model: folders and files here, or ids on the Hugging Face hub."""

    base: str
    """Stable Diffusion 1.x in diffusers' layout: a folder with model_index.json, or a hub id."""
    motion_adapter: str
    """A MotionAdapter (folder or hub id), or an original motion module file such as v3_sd15_mm.ckpt."""
    dreambooth: str | None = None
    """A single-file checkpoint whose UNet, VAE and text encoder take the place of the base's."""
    domain_adapter: str | None = None
    """An original domain adapter file such as v3_sd15_adapter.ckpt, merged into the UNet."""
    domain_adapter_scale: float = 1.0
    image_control: str | None = None
    """SparseCtrl for pictures: a folder, a hub id, or an original file such as v3_sd15_sparsectrl_rgb.ckpt."""
    sketch_control: str | None = None
    """SparseCtrl for sketches, likewise."""


def read_model_description(path: str | Path) -> ModelDescription:
    """Read a .toml, .yaml or .yml file with the fields of ModelDescription.

    A relative path is relative to the file. What exists there is that path; what does not, but could be a hub id
    ("organisation/name"), is left as it is.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no model description {path}.")
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
        description = ModelDescription.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors())
        raise InputError(f"{path} is no model description ({wrong}).") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({said(error)}).") from error
    places = {}
    for name in PLACES:
        place = getattr(description, name)
        if place is not None:
            here = path.parent / Path(place).expanduser()
            places[name] = str(here) if here.exists() or not could_be_hub_id(place) else place
    return description.model_copy(update=places)


def folder_description(folder: Path) -> ModelDescription:
    """A folder with base, motion_adapter and, if there are any, image_control and sketch_control."""
    parts = ("base", "motion_adapter", "image_control", "sketch_control")
    return ModelDescription.model_validate({name: str(folder / name) for name in parts if (folder / name).is_dir()})


def could_be_hub_id(place: str) -> bool:
    """Whether `place` has the form organisation/name and is not plainly a file."""
    return fullmatch(r"\w[\w.-]*/\w[\w.-]*", place) is not None and Path(place).suffix.lower() not in WEIGHT_SUFFIXES
