"""Layers around methods: each acts for its owner's calls alone, and all come off in any order, without a trace.

A network may belong to several pipelines, and several threads may run them. So a layer asks whose call it sees, and
what is laid upon a method is kept in one place that the last layer removes.
"""

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, update_wrapper
from inspect import signature
from typing import Any

from diffusers import DiffusionPipeline, ModularPipeline
from torch import Tensor

from motionclone.errors import InputError
from motionclone.schedule import value_of

Forward = Callable[..., Any]

Layer = Callable[..., Any]
"""Called in place of a method, with what is beneath it and then the method's arguments."""

_lock = threading.RLock()
_ours: ContextVar[tuple[object, ...]] = ContextVar("calls of ours", default=())


@contextmanager
def only_here() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether code runs inside this `with`, in this thread or where a checkpoint computes it again."""
    token = object()
    before = _ours.set((*_ours.get(), token))
    try:
        yield lambda: token in _ours.get()
    finally:
        _ours.reset(before)


def is_call_of(pipe: Any) -> bool:
    """Whether the running code was called by `pipe`, or by no pipeline, as in a sampling loop of somebody's own.

    Never for the calls that are made to read a network, inside `only_here`.
    """
    return not _ours.get() and is_under(pipe)


def is_under(pipe: Any) -> bool:
    """Whether the running code is part of a call of `pipe`, or of no pipeline's."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_varnames[:1] == ("self",):
            caller = frame.f_locals.get("self")
            if caller is pipe:
                return True
            if isinstance(caller, DiffusionPipeline | ModularPipeline):
                return False
        frame = frame.f_back  # type: ignore[assignment]
    return True


def eta_of(pipe: Any) -> float | None:
    """The share of noise that the running call of a pipeline tells the scheduler to draw anew; None if it tells none.

    diffusers' pipelines keep it, with what else their schedulers' steps take, in a variable of that name.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_varnames[:1] == ("self",) and frame.f_locals.get("self") is pipe:
            told = frame.f_locals.get("extra_step_kwargs")
            if isinstance(told, dict):
                return told.get("eta")
        frame = frame.f_back  # type: ignore[assignment]
    return None


class _Layered:
    """Stands in for a method. With no layers left it does what the method does."""

    def __init__(self, plain: Forward, own: Forward | None) -> None:
        update_wrapper(self, plain)
        self.plain, self.own = plain, own  # `own` is what the object itself held, beside its class
        self.layers: tuple[tuple[Layer, Any], ...] = ()  # with their owners, the innermost first

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.plain
        for layer, _ in self.layers:
            call = update_wrapper(partial(layer, call), self.plain)
        return call(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Forward:
        """A copy of the object has the plain method."""
        plain: Forward = copy.deepcopy(self.plain, memo)
        return plain


@contextmanager
def layered(holder: Any, name: str, layer: Layer, *, owner: Any = None, under_hooks: bool = False) -> Iterator[None]:
    """Run `layer` around a method of one object, the calls of its copies excepted.

    Args:
        holder: a network or a scheduler.
        name: of the method.
        layer: what runs in its place.
        owner: for whom; there is one layer for each.
        under_hooks: beneath the hooks of accelerate, which takes them off and puts them on anew after every call of a
            pipeline that is offloaded, and so keeps the method under another name.

    Raises:
        InputError: if there is a layer of the same owner.
    """
    places = (f"_old_{name}", name) if under_hooks else (name,)
    with _lock:
        place = next((place for place in places if place in vars(holder)), name)
        method = next((m for p in places if isinstance(m := vars(holder).get(p), _Layered)), None)
        if method is None:
            method = _Layered(getattr(holder, place), vars(holder).get(place))
            setattr(holder, place, method)
        if owner is not None and any(other is owner for _, other in method.layers):
            raise InputError("this pipeline is guided or heard already; leave that `with` before another.")
        entry = (layer, owner)
        method.layers = (*method.layers, entry)
    try:
        yield
    finally:
        with _lock:
            method.layers = tuple(other for other in method.layers if other is not entry)
            for place in places if not method.layers else ():
                if vars(holder).get(place) is method:
                    if method.own is None and place == name:
                        delattr(holder, name)
                    else:  # accelerate may have moved it since
                        setattr(holder, place, method.own or method.plain)


@contextmanager
def steps_heard(scheduler: Any, hear: Callable[[float, Tensor], None], pipe: Any = None) -> Iterator[None]:
    """Tell `hear` timestep and resulting latents of every step of a scheduler, or of those that `pipe` takes."""

    def heard(plain: Forward, *args: Any, **kwargs: Any) -> Any:
        result = plain(*args, **kwargs)
        if pipe is None or is_call_of(pipe):
            hear(value_of(signature(plain).bind(*args, **kwargs).arguments["timestep"], scheduler), result[0])
        return result

    with layered(scheduler, "step", heard, owner=pipe):
        yield
