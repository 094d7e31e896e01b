"""Share jobs among workers: every job once, those of one model together, a second try for what fails or is lost."""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from motionclone.batch.pools import Busy, Failed, Given, Lost, Pool, Raised, Told
from motionclone.errors import InputError

TRIES = 2
MOST_LOSSES = 8
"""So many workers lost beyond all of them twice, before one has done anything, are no accident."""


class Queue:
    """Jobs that wait, by what a worker must have loaded for them."""

    def __init__(self, groups: Sequence[Hashable]) -> None:
        """Of every job, in the order in which they are to be done, its group."""
        self._waiting: dict[Hashable, deque[int]] = {}
        for number, group in enumerate(groups):
            self._waiting.setdefault(group, deque()).append(number)
        self._groups = groups
        self._at_work: Counter[Hashable] = Counter()

    def take(self, last: Hashable) -> int | None:
        """A job for a worker that has done one of the group `last`: another of it, or of where most wait for few."""
        if not self._waiting:
            return None
        group = last
        if group not in self._waiting:
            group = max(self._waiting, key=lambda each: len(self._waiting[each]) / (1 + self._at_work[each]))
        number = self._waiting[group].popleft()
        if not self._waiting[group]:
            del self._waiting[group]
        self._at_work[group] += 1
        return number

    def is_empty(self) -> bool:
        """Whether none waits."""
        return not self._waiting

    def put_back(self, number: int) -> None:
        """A job that was taken waits again, behind all others of its group."""
        self._waiting.setdefault(self._groups[number], deque()).append(number)

    def end(self, number: int) -> None:
        """A job that was taken is at work no more."""
        self._at_work[self._groups[number]] -= 1


def share(
    groups: Sequence[Hashable],
    pool: Pool,
    job: Callable[[int], Any],
    on_done: Callable[[int, Any], None],
    on_step: Callable[[int, int | None, int, int], None] = lambda *_: None,
) -> None:
    """Have all jobs done; whatever ends this, workers are gone then, and `on_done` has had all that was finished.

    Args:
        groups: of every job, in order, what must be loaded for it: a worker leaves a group when none of it waits.
        pool: of workers.
        job: what is given to a worker, by the job's number; made then, so that nothing is held for those that wait.
        on_done: called with a job's number and what its worker gave; `Failed` after `TRIES`.
        on_step: called with a worker, its job's number (None: it has none now), its step and how many there are, which
            are both 0 at first.

    Raises:
        InputError: workers end before they can do anything.
        Exception: what stops all, as the worker raised it.
    """
    queue = Queue(groups)
    idle, last = list(range(pool.size))[::-1], dict[int, Hashable]()
    at_work: dict[int, int] = {}
    tries: Counter[int] = Counter()
    losses = 0

    def ended(worker: int, lost: bool = False) -> int:
        number = at_work.pop(worker)
        queue.end(number)
        idle.insert(0 if lost else len(idle), worker)  # those that are there are given jobs first
        on_step(worker, None, 0, 0)
        return number

    def failed(number: int, why: Failed) -> None:
        tries[number] += 1
        if tries[number] < TRIES:
            queue.put_back(number)
        else:
            on_done(number, why)

    try:
        while True:
            for worker in idle[::-1]:
                if pool.ready(worker) and (number := queue.take(last.get(worker))) is not None:
                    idle.remove(worker)
                    at_work[worker], last[worker] = number, groups[number]
                    pool.give(worker, job(number))
                    on_step(worker, number, 0, 0)
            if not at_work and queue.is_empty():
                return
            for answer in pool.answers(0.5):
                if answer.worker not in at_work:  # it ended while it had nothing to do
                    last.pop(answer.worker, None)
                elif isinstance(answer, Told):
                    on_step(answer.worker, at_work[answer.worker], answer.step, answer.steps)
                elif isinstance(answer, Raised):
                    raise answer.error
                elif isinstance(answer, Lost):
                    losses += 1
                    if losses >= MOST_LOSSES + 2 * pool.size:
                        raise InputError(
                            f"workers end before they do anything ({answer.how}); mend that, or try fewer."
                        )
                    last.pop(answer.worker, None)
                    failed(ended(answer.worker, lost=True), Failed(answer.how))
                else:
                    number, losses = ended(answer.worker), 0
                    if isinstance(answer.value, Busy):
                        queue.put_back(number)
                    elif isinstance(answer.value, Failed):
                        failed(number, answer.value)
                    else:
                        on_done(number, answer.value)
    finally:
        for answer in pool.close():
            if isinstance(answer, Given) and answer.worker in at_work and not isinstance(answer.value, Busy | Failed):
                on_done(at_work.pop(answer.worker), answer.value)
