"""What the tiny pipelines of diffusion transformers are made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel


@dataclass(frozen=True)
class Tiny:
    """A family's tiny pipeline, and the smallest video that says something about it."""

    make: Callable[[], Any]
    block: str
    num_frames: int
    weight: float = 100.0
    height: int = 32
    width: int = 48
    steps: int = 8
    arguments: dict[str, Any] = field(default_factory=dict)  # of the pipeline, beside the backbone's


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Words are bytes; </s> ends the text, as T5's do."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def t5(width: int = 16, words: int = 258) -> T5EncoderModel:
    config = T5Config(vocab_size=words, d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return T5EncoderModel(config)


def ready(pipe: Any) -> Any:
    """Random weights large enough that attention is not uniform; evaluation mode, frozen, quiet."""
    torch.manual_seed(1)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    for name, weight in pipe.transformer.named_parameters():
        if weight.ndim > 1 and ("to_q" in name or "to_k" in name):
            weight.mul_(3)
    pipe.set_progress_bar_config(disable=True)
    return pipe
