"""What is in a .ckpt, .pt, .pth or .bin file, looked at before PyTorch opens it.

PyTorch's reader of plain weights runs no code, but it believes what a file says of sizes, and calls what makes tensors
of other kinds. Here only the layout that `torch.save` writes for plain weights gets through.
"""

import pickletools
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

LONGEST_PICKLE = 2**25  # bytes; large training checkpoints have 2 MB of names beside their tensors
MOST_OPERATIONS = 2**20
MOST_TUPLES = 60_000  # one inside the other, 200,000 crash Python
_PLAIN = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor(_v2)?|parameter)"
    r"|torch (\w+Storage|Size|b?float\d+|u?int\d+|bool|device)"
)


def check_pickle(path: Path) -> None:
    """Refuse a file that is not plain weights as `torch.save` writes them.

    Raises:
        ValueError: saying what is wrong. Other exceptions for what is damaged.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":  # as PyTorch tells them apart
            _check_zip(path, file)
        else:  # older: a magic number, a version, the system, the weights and the names of their storages
            file.seek(0)
            for _ in range(5):
                _check_operations(file)


def _check_zip(path: Path, file: BinaryIO) -> None:
    """As `torch.save` writes it: nothing compressed, nothing twice, no more bytes than the file has."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = Counter(entry.filename.casefold() for entry in entries)
        if max(names.values(), default=0) > 1:
            raise ValueError("an entry of it is there twice")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save does not do")
        if sum(max(entry.file_size, entry.compress_size) for entry in entries) > path.stat().st_size:
            raise ValueError("it says that it is larger than it is")
        pickles = [entry for entry in entries if re.fullmatch(r"[^/]+/data\.pkl", entry.filename)]
        if len(pickles) != 1:
            raise ValueError("it is another kind of zip file")
        with archive.open(pickles[0]) as inner:
            _check_operations(inner)


def _check_operations(file: object) -> None:
    """One pickle, without executing it: which functions it asks for, and how much work it is."""
    tuples = 0
    for number, (operation, argument, position) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
        if number > MOST_OPERATIONS or (position or 0) > LONGEST_PICKLE:
            raise ValueError("it holds much besides tensors")
        if operation.name == "PROTO" and argument != 2:
            raise ValueError("it is no pickle of torch.save's")
        tuples += operation.name.startswith("TUPLE")
        if tuples > MOST_TUPLES:
            raise ValueError("it holds more tuples than tensors need")
        if operation.name == "GLOBAL" and not _PLAIN.fullmatch(str(argument)):
            raise ValueError(f"it asks for {argument}, and more than plain weights is not opened")
