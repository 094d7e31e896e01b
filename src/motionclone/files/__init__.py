"""Files that appear whole or not at all, alone or together; and what strangers wrote, read as data."""

from motionclone.files.kinds import Kind, check_kind, check_no_address, kind_of
from motionclone.files.names import as_path, check_free, check_not_input
from motionclone.files.reading import parse_json, read_bounded, read_json, sha256_of
from motionclone.files.values import check_plain, parse_yaml, unique
from motionclone.files.whole import TakenError, claimed, scratch_file, sweep, whole_file, whole_files

__all__ = [
    "Kind",
    "TakenError",
    "as_path",
    "check_free",
    "check_kind",
    "check_no_address",
    "check_not_input",
    "check_plain",
    "claimed",
    "kind_of",
    "parse_json",
    "parse_yaml",
    "read_bounded",
    "read_json",
    "scratch_file",
    "sha256_of",
    "sweep",
    "unique",
    "whole_file",
    "whole_files",
]
