"""Train against a clock of computing time, with checkpoints to go on from: on a GPU, or one process a core."""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from muon import Muon, is_matrix
from torch import Tensor, nn

EMA = 0.999
DECAY = 0.3
"""Last share of the time, in which the learning rate falls to 0. Before, it is constant, so that the time can still be
changed."""


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, a torch.device."""
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")


def compiled(network: nn.Module) -> nn.Module:
    """The network, faster for batches of few sizes; its weights stay where they are."""
    return cast(nn.Module, torch.compile(network, dynamic=False))


def mixed_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where it does no harm."""
    return torch.autocast(device.type, torch.bfloat16)


def clock(device: torch.device) -> float:
    """Seconds; on a CPU those of computing alone, for each thread."""
    if device.type == "cpu":
        return time.process_time() / torch.get_num_threads()
    torch.cuda.synchronize(device)
    return time.monotonic()


def start_processes() -> int:
    """Join the other processes, if torchrun started some; the number of this one."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    return int(os.environ.get("RANK", 0))


def optimizers_for(model: nn.Module, scale: Callable[[str], float] = lambda name: 1.0) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for the rest; `scale` of a weight's name multiplies its learning rate."""
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            groups.setdefault((is_matrix(name, weight), scale(name)), []).append(weight)
    matrices, others = (
        [{"params": weights, "scale": factor} for (matrix, factor), weights in groups.items() if matrix == wanted]
        for wanted in (True, False)
    )
    return [Muon(matrices, lr=0.0), torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)]


def average(model: nn.Module) -> None:
    """Average the gradients over the processes."""
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    together = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(together)
    together /= dist.get_world_size()
    for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def train(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    loss_of: Callable[[int], tuple[str, Tensor]],
    generator: torch.Generator,
    *,
    checkpoint: Path,
    minutes: float,
    rate: float,
    seed: int,
    decay: float = DECAY,
) -> None:
    """Train until `minutes` of computing time are spent, learning at `rate`, which falls to 0 at the end.

    Args:
        model: what is trained, on its device; moving averages of its weights are kept beside them.
        optimizers: from `optimizers_for`.
        loss_of: the loss of a step, by its number, and the name it is logged under.
        generator: of the batches; seeded anew when training goes on from a checkpoint.
        checkpoint: kept every five minutes, and when a single process is told to end (SIGTERM); where there is one,
            training goes on from it.
        minutes: of computing on each core; time in which the process was paused does not count.
        rate: the highest learning rate.
        seed: of this process.
        decay: last share of the time, in which the rate falls; 0 if another stage goes on from the weights.
    """
    device = next(model.parameters()).device
    first = not dist.is_initialized() or dist.get_rank() == 0
    state: dict[str, Any] = {"step": 0, "seconds": 0.0, "log": []}
    ema = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(saved["model"])
        for optimizer, kept in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        ema, state = saved["ema"], saved["state"]
        generator.manual_seed(seed + state["step"])

    def save() -> None:
        bundle = {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "ema": ema,
            "state": state,
        }
        torch.save(bundle, checkpoint.with_suffix(".part"))
        checkpoint.with_suffix(".part").replace(checkpoint)

    told_to_end: list[int] = []
    if not dist.is_initialized():
        signal.signal(signal.SIGTERM, lambda number, _frame: told_to_end.append(number))
    total, saved_at = minutes * 60, state["seconds"]
    windows: dict[str, list[float]] = {}
    while state["seconds"] < total and not told_to_end:
        began = clock(device)
        falling = (1 - state["seconds"] / total) / decay if decay else 1.0
        now = rate * min(1, (state["step"] + 1) / 100, falling)
        name, loss = loss_of(state["step"])
        model.zero_grad(set_to_none=True)
        loss.backward()
        if dist.is_initialized():
            average(model)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = now * group["scale"]
            optimizer.step()
        if first:
            inertia = min(EMA, (state["step"] + 1) / (state["step"] + 10))
            with torch.no_grad():
                for key, value in model.state_dict().items():
                    if value.is_floating_point():
                        ema[key].lerp_(value, 1 - inertia)
        state["step"] += 1
        spent = torch.tensor(clock(device) - began)
        if dist.is_initialized():  # the same clock in every process
            dist.all_reduce(spent, dist.ReduceOp.MAX)
        state["seconds"] += spent.item()
        windows.setdefault(name, []).append(loss.item())
        if state["step"] % 50 == 0:
            entry = {
                "step": state["step"],
                "seconds": round(state["seconds"]),
                "loss": {kind: round(sum(losses) / len(losses), 4) for kind, losses in windows.items()},
            }
            state["log"].append(entry)
            if first:
                print(json.dumps(entry), flush=True)
            windows = {}
        if first and state["seconds"] - saved_at > 300:
            save()
            saved_at = state["seconds"]
    if first:
        save()
    if told_to_end:
        raise SystemExit(f"stopped after {state['seconds'] / 60:.0f} of {minutes:.0f} minutes; call again to go on")
