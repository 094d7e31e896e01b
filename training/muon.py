"""Muon: momentum whose matrices are made orthogonal (K. Jordan, 2024), beside AdamW for everything that is no matrix.

Updates are scaled to AdamW's usual size, 0.2 sqrt(max(rows, columns)) (arXiv:2502.16982), so that one learning rate
does for both. Convolutions count as matrices of (out, in * kernel).
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Nearly U V^T of the matrix's singular value decomposition, by a quintic Newton-Schulz iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """For weights with two or more axes. In a process group the ranks share the work of one step."""

    def __init__(self, groups: list[dict], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        weights = [(w, group) for group in self.param_groups for w in group["params"]]
        updates = []
        for number, (weight, group) in enumerate(weights):
            buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            buffer.lerp_(weight.grad, 1 - group["momentum"])
            mine = number % ranks == rank
            ahead = weight.grad.lerp(buffer, group["momentum"]).flatten(1)
            updates.append((orthogonal(ahead) if mine else torch.zeros_like(ahead)).flatten())
        together = torch.cat(updates)
        if ranks > 1:
            dist.all_reduce(together)
        for (weight, group), update in zip(weights, together.split([w.numel() for w, _ in weights]), strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            scale = 0.2 * max(weight.flatten(1).shape) ** 0.5
            weight.add_(update.view(weight.shape), alpha=-group["lr"] * scale)


def is_matrix(name: str, weight: nn.Parameter) -> bool:
    """Whether Muon should train a weight: a matrix inside the network, no table and not its first or last layer."""
    return weight.ndim >= 2 and not any(part in name for part in ("embedding", "conv_in", "conv_out"))
