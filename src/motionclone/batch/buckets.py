"""Batches that are kept in object storage, through fsspec: everything by name, and nothing locked."""

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motionclone.batch.folder import is_done
from motionclone.batch.storage import MOTIONS, Folder, Storage, UnusableError
from motionclone.errors import InputError, in_one_line
from motionclone.files.locks import hold, hold_now

OBJECTS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Beginnings of addresses where an object is there whole or not at all, as fsspec calls them."""
_SCRATCH = "motionclone-batch-"


def storage_at(place: str | Path) -> Storage:
    """What a path or an address of object storage (s3://bucket/folder) stands for. InputError for other addresses."""
    scheme, address, _ = str(place).partition("://")
    if not address:
        return Folder(Path(place))
    if scheme.lower() not in OBJECTS:
        raise InputError(
            f"{place} is nowhere that a batch can be kept; give a folder, or object storage (s3://, gs:// or az://)."
        )
    return Bucket(str(place).rstrip("/"))


@dataclass(frozen=True)
class Bucket:
    """A prefix of object storage, through fsspec, which finds credentials as the service's own programs do.

    Nothing can be locked there. Of two runs of the same jobs both may make a video: they write the same bytes under the
    same name, which holds a hash of all that decides them, so that this is wasteful and no more.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """The file system, with nothing remembered of what others may have changed, and the prefix in it."""
        try:
            import fsspec

            system, prefix = fsspec.url_to_fs(self.address)
            system.invalidate_cache()
            yield system, prefix.rstrip("/")
        except ImportError as error:
            raise InputError(f"{self} needs a package that is not here ({in_one_line(error)}).") from error
        except Exception as error:  # of the network and of the service, each with kinds of its own
            told = in_one_line(error)[:300] or type(error).__name__
            raise UnusableError(f"{self} cannot be used ({told}); check address, rights and network.") from error

    def check(self) -> None:
        """As `Storage` says; whether it can be written to, the list of jobs shows, which is written first."""
        self.names()

    def names(self, under: str = "") -> set[str]:
        """As `Storage` says."""
        with self._reached() as (system, prefix):
            try:
                found = system.ls(f"{prefix}/{under}".rstrip("/"), detail=False)
            except FileNotFoundError:  # there are no folders but those of objects
                return set()
        return {path.rstrip("/").rpartition("/")[2] for path in found}

    def has(self, name: str) -> bool:
        """As `Storage` says."""
        with self._reached() as (system, prefix):
            return bool(system.exists(f"{prefix}/{name}"))

    def read(self, name: str, what: str, largest: int) -> bytes:
        """As `Storage` says."""
        data = None
        with (
            self._reached() as (system, prefix),
            suppress(FileNotFoundError),
            system.open(f"{prefix}/{name}", "rb") as file,
        ):
            data = bytes(file.read(largest + 1))
        if data is None or len(data) > largest:
            raise InputError(f"{self}/{name} is not {what}; take it away.")
        return data

    def write(self, name: str, text: str) -> None:
        """As `Storage` says."""
        with self._reached() as (system, prefix):
            system.pipe_file(f"{prefix}/{name}", text.encode())

    def remove(self, name: str) -> None:
        """As `Storage` says."""
        with self._reached() as (system, prefix), suppress(FileNotFoundError):
            system.rm_file(f"{prefix}/{name}")

    @contextmanager
    def output(self, name: str) -> Iterator[Path]:
        """As `Storage` says; made in a folder of this machine, and uploaded, the record last."""
        with _scratch() as folder:
            yield folder / name
            record = Path(name).with_suffix(".json").name
            if (folder / record).is_file() and not is_done(self, name):  # or another run has been faster
                for each in (name, record):
                    self._upload(folder / each, each)

    def obtain(self, motion: Path, make: Callable[[], None]) -> None:
        """As `Storage` says."""
        name = f"{MOTIONS}/{motion.name}"
        if self.has(name):
            motion.parent.mkdir(exist_ok=True)
            with self._reached() as (system, prefix):
                system.get_file(f"{prefix}/{name}", str(motion))
        else:
            make()
            self._upload(motion, name)

    def _upload(self, path: Path, name: str) -> None:
        with self._reached() as (system, prefix):
            system.put_file(str(path), f"{prefix}/{name}")

    def sweep(self) -> None:
        """As `Storage` says; whole objects are left, which the next run writes again."""
        for path in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*.lock"):
            with suppress(OSError):
                if (lock := hold_now(path, sure=True)) is not None:
                    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                    lock.release()

    def room(self) -> int | None:
        """As `Storage` says."""
        return None

    def is_lost(self) -> bool:
        """As `Storage` says; what is lost is told by `UnusableError`."""
        return False


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder of this machine, gone in the end; if this process dies, a later `sweep` takes it away."""
    folder = Path(tempfile.gettempdir()) / f"{_SCRATCH}{secrets.token_hex(6)}"
    lock = hold(folder.with_suffix(".lock"))
    assert lock is not None  # nobody else knows the name
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
