"""The command that makes many videos, and the one that tells how far it is."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from motionclone.cli.examples import epilogue
from motionclone.cli.options import WHOLE, RayAddress, ray_address
from motionclone.cli.terminal import batch_bars, say
from motionclone.errors import InputError, naming, printable

if TYPE_CHECKING:
    from motionclone.batch.pools import Pool
    from motionclone.batch.storage import Storage
    from motionclone.cli.rows import Rows

batch = App(name="batch", help_epilogue=epilogue("batch"))


@batch.default
def batch_run(
    jobs: Path | None = None,
    *,
    out_dir: str | None = None,
    workers: Annotated[int | None, WHOLE] = None,
    shard: str | None = None,
    ray: RayAddress = None,
    shared: bool = False,
    follow: bool = False,
    dry_run: bool = False,
    schema: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make the videos of a job file: those that are not there yet, each once, whatever stops it on the way.

    Called again, it goes on where it was, and tries again what failed. Exit code 1 if some failed.

    Parameters
    ----------
    jobs
        A file of jobs (.yaml, .jsonl or .csv); docs/batches.md tells how one is written.
    out_dir
        Folder for videos, records and motions, or object storage (s3://bucket/folder, gs://... or az://...); by default
        a folder named after the file.
    workers
        Processes of this machine, or actors of Ray; by default one a GPU, or one.
    shard
        Make a part only: 3/8 is the third of eight, which together make all, on one machine or several.
    ray
        Work on Ray: on one that is started here or, as --ray auto, that runs here, or at the address of a cluster.
    shared
        The folder, if it is one, and all inputs lie under the same paths on all machines of the cluster.
    follow
        Show every worker, and say at once what fails.
    dry_run
        Only check every job and say what it all takes; nothing is computed or written.
    schema
        Print the JSON Schema of job files.
    """
    if schema:
        from motionclone.batch.schema import json_schema

        print(json_schema(), end="")
        return
    if jobs is None and ray:  # which took it for an address
        jobs = Path(ray.pop())
    if jobs is None:
        raise InputError("`motionclone batch` needs a job file, such as: motionclone batch jobs.yaml")
    if workers is not None and not 1 <= workers <= 10_000:
        raise InputError(f"--workers must be 1 to 10,000, got {workers}.")
    address = ray_address(ray, shared)
    from motionclone.batch.buckets import Bucket, storage_at
    from motionclone.batch.jobfile import read_jobs
    from motionclone.batch.schema import as_field
    from motionclone.batch.shards import shard_of
    from motionclone.cli.rows import Rows

    found = read_jobs(jobs)
    numbers = range(len(found))[shard_of(shard)]
    storage = storage_at(jobs.stem if out_dir is None else out_dir)
    rows = Rows(found, storage)
    storage.check()
    shared = shared or isinstance(storage, Bucket)  # what is there, all see
    with naming(as_field):
        if dry_run:
            _foretell(rows, storage, numbers)
        else:
            _make(rows, storage, numbers, f"{jobs.absolute()} {shard}", (workers, address, shared), follow)


@batch.command
def status(folder: str, *, page: bool = False) -> None:
    """Say how far a batch is, and what failed.

    Parameters
    ----------
    folder
        Where `motionclone batch` writes.
    page
        Write index.html, a page of all videos with filters, as a batch does when it ends.
    """
    from motionclone.batch.buckets import storage_at
    from motionclone.batch.folder import read_error, read_lists, state_of

    storage = storage_at(folder)
    asked, state = read_lists(storage), state_of(storage)
    done = sum(name in state.done for name in asked)
    failed = [name for name in asked if Path(name).stem in state.failed]
    left = len(asked) - done - len(failed)
    print(f"{len(asked):,} asked for: {done:,} done, {len(failed):,} failed, {left:,} to be made")
    for name in failed[:20]:
        print(printable(f"{name}: {read_error(storage, name)}"))
    if len(failed) > 20:
        print(f"and {len(failed) - 20:,} more; each has its .error.json")
    if page:
        from motionclone.lab.batch_page import write_page

        say(f"wrote {write_page(storage)}")


def _foretell(rows: "Rows", storage: "Storage", numbers: range) -> None:
    from motionclone.batch.folder import state_of
    from motionclone.cli.batch_plan import plan_of, show

    state = state_of(storage)
    plan = plan_of(rows, numbers, state.done)
    names = [rows(number).name for number in numbers]
    unique = set(names)
    failed = sum(Path(name).stem in state.failed for name in unique)
    show(plan, storage, len(names), len(names) - len(unique), len(unique & state.done), failed, state.done)
    if plan.refused:
        sys.exit(1)


def _resolved(rows: "Rows", numbers: range) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, str]]]:
    """Name, number and group of every video, each once; and name, number and why of what cannot be made."""
    from motionclone.cli.rows import Refused

    seen: set[str] = set()
    groups: dict[Any, int] = {}
    tasks: list[tuple[str, int, int]] = []
    refused: list[tuple[str, int, str]] = []
    for number in numbers:
        row = rows(number)
        if row.name in seen:
            continue
        seen.add(row.name)
        if isinstance(row, Refused):
            refused.append((row.name, number, row.reason))
        else:
            tasks.append((row.name, number, groups.setdefault(row.group, len(groups))))
    return tasks, refused


def _make(
    rows: "Rows",
    storage: "Storage",
    numbers: range,
    key: str,
    engine: tuple[int | None, str | None, bool],
    follow: bool,
) -> None:
    from motionclone.batch.folder import digest_of, state_of, write_error, write_list
    from motionclone.batch.jobfile import as_given
    from motionclone.batch.pools import Failed
    from motionclone.batch.sharing import TRIES, share
    from motionclone.lab.identity import without_places

    tasks, refused = _resolved(rows, numbers)
    storage.sweep()
    done_before = state_of(storage).done
    todo = [task for task in tasks if task[0] not in done_before]
    pool = _pool(*engine, len(todo)) if todo else None  # what is refused leaves no trace
    asked = [(name, number) for name, number, _ in (*tasks, *refused)]
    write_list(storage, digest_of(key), (rows.listed(number, name) for name, number in asked))
    there, made, failed, notes = len(tasks) - len(todo), 0, 0, set[str]()

    def fail(name: str, number: int, reason: str, tries: int) -> None:
        nonlocal failed
        failed += 1
        write_error(storage, name, without_places(reason), tries, as_given(rows.jobs[number]))
        if follow or failed <= 3:
            say(f"note: {rows.jobs.where(number)} failed: {reason}")

    for name, number, reason in refused:
        fail(name, number, reason, 1)
    if pool is not None:
        with batch_bars(len(todo), follow) as (count, step), ExitStack() as left:
            left.callback(storage.sweep)

            def done(place: int, value: Any) -> None:
                nonlocal made
                name, number, _ = todo[place]
                if isinstance(value, Failed):
                    fail(name, number, value.reason, TRIES)
                else:
                    made += 1
                    for note in set(value.notes) - notes:
                        notes.add(note)
                        say(f"note: {note}")
                count(made, failed - len(refused))

            def on_step(worker: int, place: int | None, index: int, steps: int) -> None:
                step(worker, None if place is None else todo[place][0], index, steps)

            share([group for _, _, group in todo], pool, lambda place: rows(todo[place][1]), done, on_step)
    _write_page(storage)
    told = f"{made:,} made, {there:,} there already, {failed:,} failed"
    say(f"{told}; see {storage}" + (" and the .error.json in it" if failed else ""))
    if failed:
        sys.exit(1)


def _write_page(storage: "Storage") -> None:
    """The page of results, if it can be had."""
    try:
        from motionclone.lab.batch_page import write_page

        write_page(storage)
    except InputError as error:
        say(f"note: there is no page of the results ({error})")


def _pool(workers: int | None, ray: str | None, shared: bool, jobs: int) -> "Pool":
    from motionclone.cli.batch_worker import Worker

    if ray is not None:
        from motionclone.batch.rays import Rays

        return Rays(ray, Worker, workers and min(workers, jobs), shared)
    from motionclone.batch.processes import Processes, threads_of, visible_gpus

    gpus = visible_gpus()
    size = min(workers or len(gpus) or 1, jobs)
    return Processes(size, Worker, gpus if size > 1 else (), threads=None if gpus or size == 1 else threads_of(size))
