"""What frames show, read from embeddings such as CLIP's; their lengths do not count, only their directions."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def text_alignment(images: Tensor, text: Tensor) -> float:
    """Mean cosine of the frames' embeddings (f, d) with the prompt's (d,); in [-1, 1]."""
    return float((normalize(images.double(), dim=-1) @ normalize(text.double(), dim=-1)).mean())


def temporal_consistency(images: Tensor) -> float:
    """Mean cosine of neighbouring frames' embeddings (f, d); in [-1, 1], NaN for a single frame."""
    unit = normalize(images.double(), dim=-1)
    return float((unit[1:] * unit[:-1]).sum(-1).mean())


def appearance_similarity(images: Tensor, reference: Tensor) -> float:
    """Mean cosine of every frame's embedding (f, d) with every frame's of the reference (g, d); in [-1, 1].

    Leakage of the reference's looks is read from it by comparison with the unguided video's value: where the clone is
    no more like the reference than that, nothing has leaked.
    """
    return float((normalize(images.double(), dim=-1) @ normalize(reference.double(), dim=-1).T).mean())


def diversity(videos: Tensor) -> float:
    """1 - mean cosine over all pairs of n videos' mean embeddings (n, d); in [0, 2], 0 if all show the same.

    NaN for fewer than two videos.
    """
    unit = normalize(videos.double(), dim=-1)
    rows, columns = torch.triu_indices(len(unit), len(unit), offset=1)
    return float(1 - (unit[rows] * unit[columns]).sum(-1).mean())
