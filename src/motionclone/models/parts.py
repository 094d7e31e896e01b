"""The parts of a pipeline that are no networks: what reads words, and what goes through the steps."""

from pathlib import Path
from typing import Any

import torch

from motionclone.errors import InputError
from motionclone.models.configs import read_config
from motionclone.models.networks import reading
from motionclone.models.texts import check_file, said

LONGEST_VOCABULARY = 2**26  # bytes; the largest has 33 MB
STEPS = 1000  # of the noise that all models were trained with, and that settings speak of
_CHOICES = {
    "prediction_type": ("epsilon", "sample", "v_prediction", "flow_prediction"),
    "timestep_spacing": ("linspace", "leading", "trailing"),
}


def load_tokenizer(kind: Any, place: Path) -> Any:
    """A tokenizer of a class of transformers.

    Raises:
        InputError: it cannot be read, or has no words; transformers makes one without words of an empty folder.
    """
    for file in filter(Path.is_file, place.glob("*")):
        check_file(file, LONGEST_VOCABULARY)
    with reading(place):
        tokenizer = kind.from_pretrained(str(place), local_files_only=True) if place.is_dir() else None
        if tokenizer is None or len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise InputError(
                f"the tokenizer of {place.parent} has no vocabulary; vocab.json and merges.txt were expected."
            )
    return tokenizer


def check_words(tokenizer: Any, text_encoder: Any, place: Path) -> None:
    """Refuse a tokenizer and a text encoder of CLIP that do not work together; an empty prompt is tried."""
    length, longest = tokenizer.model_max_length, text_encoder.config.max_position_embeddings
    if not isinstance(length, int) or not 3 <= length <= longest:  # two marks, and something between them
        raise InputError(
            f"the tokenizer of {place} gives {said(length, 40)} tokens and its text encoder reads {longest}."
        )
    known = text_encoder.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise InputError(f"the tokenizer of {place} has {len(tokenizer)} words and its text encoder knows {known}.")
    with reading(f"the text_encoder of {place}"), torch.no_grad():
        words = tokenizer("", padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        text_encoder(words.input_ids)


def load_scheduler(kind: Any, place: Path, **changes: Any) -> Any:
    """A scheduler of a class of diffusers, with `changes` of its configuration.

    Raises:
        InputError: it cannot be read, does not go through 1000 steps, or has levels of noise that are none.
    """
    source = place / "scheduler_config.json"
    config = {**read_config(kind, place, source.name), **changes}
    check_choices(config, source)
    if config.get("num_train_timesteps", STEPS) != STEPS:
        raise InputError(
            f"{source} has {said(config['num_train_timesteps'], 40)} as num_train_timesteps; models of {STEPS} are "
            "supported."
        )
    with reading(place):
        scheduler = kind.from_config(config)
        levels = getattr(scheduler, "alphas_cumprod", None)
        if levels is not None and not (0 <= levels.min() <= levels.max() <= 1):  # nor may they be nan
            raise InputError(f"{source} gives levels of noise that are none; fetch it again.")
    return scheduler


def check_choices(config: dict[str, Any], source: Path) -> None:
    """Refuse words in a scheduler's configuration that it would only stumble over in its first step."""
    for name, choices in _CHOICES.items():
        if config.get(name, choices[0]) not in choices:
            raise InputError(f"{source} has {said(config[name], 40)} as {name}; it is one of {', '.join(choices)}.")
