"""Frames and words in one space, by CLIP: a real one from a folder or the hub, or the small one of the world."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from motionclone.errors import InputError
from motionclone.models.places import check_place

BATCH = 32
"""Frames or texts that are embedded at once: more gain no speed and take memory."""
MOST_LAYERS, LARGEST_SIDE = 200, 2048
"""Of a CLIP: the largest have 48 layers, and take pictures of 378 pixels."""


@dataclass(frozen=True)
class Embedder:
    """A CLIP model with its tokenizer and image processor."""

    model: Any
    tokenizer: Any
    processor: Any

    @torch.no_grad()
    def images(self, frames: Tensor) -> Tensor:
        """Unit embeddings (f, d) of frames (f, 3, h, w), RGB in [-1, 1]."""
        return torch.cat([self._images(batch) for batch in torch.split(frames, BATCH)])

    def _images(self, frames: Tensor) -> Tensor:
        pictures = ((frames.float() + 1) * 127.5).round().clamp(0, 255).byte().cpu()
        pixels = self.processor(list(pictures.permute(0, 2, 3, 1).numpy()), return_tensors="pt")["pixel_values"]
        features = self.model.get_image_features(pixel_values=pixels.to(self.model.device, self.model.dtype))
        return _unit(features)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, d) of texts; what is beyond the model's longest is cut off, as with any CLIP score."""
        return torch.cat(
            [self._texts(list(batch)) for batch in (texts[i : i + BATCH] for i in range(0, len(texts), BATCH))]
        )

    def _texts(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        return _unit(self.model.get_text_features(input_ids=tokens.input_ids.to(self.model.device)))


def _unit(output: Any) -> Tensor:
    features: Tensor = getattr(output, "pooler_output", output)  # a tensor in earlier versions of transformers
    return functional.normalize(features.float().cpu(), dim=-1)


def load_embedder(place: str | Path = "mini", device: str = "cpu") -> Embedder:
    """CLIP from a local folder or a hub id such as openai/clip-vit-base-patch32; "mini" is the bundled one.

    Raises:
        InputError: if there is none, or it cannot be read.
    """
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    if str(place) != "mini":
        check_place(str(place), "CLIP model")
    path = str(files("motionclone") / "mini" / "clip") if str(place) == "mini" else str(place)
    try:
        config, processor = CLIPConfig.from_pretrained(path), CLIPImageProcessor.from_pretrained(path)
        layers = (config.text_config.num_hidden_layers, config.vision_config.num_hidden_layers)
        sides = [side or 0 for size in (processor.size, processor.crop_size) for side in dict(size).values()]
        if max(layers) > MOST_LAYERS or max(sides) > LARGEST_SIDE:
            raise ValueError(f"it has {max(layers)} layers and takes pictures of {max(sides)} pixels, which none does")
        model, report = CLIPModel.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
        tokenizer = CLIPTokenizer.from_pretrained(path)
    except Exception as error:  # whatever a damaged configuration makes transformers raise
        why = " ".join(str(error).split()).rstrip(".")[:300]
        raise InputError(f"no CLIP model could be read from {place} ({why}); give a folder or a hub id.") from error
    if report["missing_keys"]:
        raise InputError(f"the CLIP model in {place} lacks weights, such as {sorted(report['missing_keys'])[0]}.")
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise InputError(
            f"the CLIP model in {place} has a tokenizer without words; it needs vocab.json and merges.txt."
        )
    return Embedder(model.eval().requires_grad_(False).to(device), tokenizer, processor)
