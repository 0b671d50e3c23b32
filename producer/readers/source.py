"""Where bytes come from: files, pipes and standard input, plain or gzip-compressed."""

import codecs
import gzip
import io
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, BinaryIO, cast

from producer.readers.formats import STDIN
from schema.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a stream raises if its disk, its pipe or its compression is broken."""

Stream = io.BufferedReader

ALLOWED_EXPANSION = 500
"""Bytes that one byte of a gzip file may expand to; text reaches 20, gzip's maximum is 1,032."""

FREE_EXPANSION = 64 * 1024 * 1024
"""Decompressed bytes that are always allowed, however few bytes they expand from."""

_GZIP = b"\x1f\x8b"
_NOT_UTF8 = {
    codecs.BOM_UTF16_LE: "UTF-16 or UTF-32 text; convert it to UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; convert it to UTF-8",
    codecs.BOM_UTF32_BE: "UTF-32 text; convert it to UTF-8",
    b"PAR1": "a Parquet file; give --format parquet",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; decompress it, or use gzip",
    b"\xfd7zXZ": "xz-compressed; decompress it, or use gzip",
    b"BZh91AY": "bzip2-compressed; decompress it, or use gzip",
}


@contextmanager
def opened(path: str) -> Iterator[Stream]:
    """The bytes of a file, or of standard input where `path` is `-`, decompressed.

    Raises:
        InputError: nothing can be read from it; also raised by reading, if a small file
            decompresses without end.
    """
    with _opened_raw(path) as raw:
        # With a buffer over a buffer, peek sees the head even if a pipe delivers it bit by bit.
        buffered: io.BufferedReader = io.BufferedReader(raw)
        try:
            yield _decompressed(buffered, path)
        finally:
            if not buffered.closed:  # standard input may have been closed meanwhile
                buffered.detach()


@contextmanager
def seekable(stream: Stream, name: str) -> Iterator[BinaryIO]:
    """The same bytes with random access; those of a pipe or of gzip are copied to disk first.

    Raises:
        InputError: the stream is damaged.
    """
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile(prefix="textmill-") as spool:
        try:
            copyfileobj(stream, spool)
        except DAMAGED as error:
            raise _unreadable(name, error) from error
        spool.seek(0)
        yield spool


def refuse_directory(path: str) -> None:
    """Check that `path` may be a file.

    Raises:
        InputError: `path` is a directory.
    """
    if Path(path).is_dir():
        msg = f"{path} is a directory; name the files in it"
        raise InputError(msg)


def refuse_other_formats(stream: Stream, name: str) -> None:
    """Check that a stream may be UTF-8 text; its head stays unread.

    Raises:
        InputError: the stream begins like another encoding, an archive or a Parquet file.
    """
    try:
        head = stream.peek(8)
    except DAMAGED as error:
        raise _unreadable(name, error) from error
    for signature, remedy in _NOT_UTF8.items():
        if head.startswith(signature):
            msg = f"{name} is {remedy}"
            raise InputError(msg)
    # Text has no NULs; these are the other bytes of ASCII characters in UTF-16 or UTF-32.
    if len(head) > 3 and not (any(head[:4:2]) and any(head[1:4:2])):  # noqa: PLR2004
        msg = f"{name} is UTF-16 or UTF-32 text without a byte order mark; convert it to UTF-8"
        raise InputError(msg)


def display_name(path: str) -> str:
    """The name of the file at `path` in messages."""
    return "standard input" if path == STDIN else path


def rereadable(path: str) -> bool:
    """Whether opening `path` again gives the same bytes; a pipe does not."""
    return path != STDIN and Path(path).is_file()


@contextmanager
def _opened_raw(path: str) -> Iterator[io.BufferedReader]:
    if path == STDIN:
        if sys.stdin is None:
            msg = "standard input is closed; name a file, or hand documents over by a pipe"
            raise InputError(msg)
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(Path(path).open("rb"))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise _unreadable(path, error) from error
        yield raw


def _decompressed(raw: io.BufferedReader, path: str) -> Stream:
    try:
        head = raw.peek(len(_GZIP))
    except OSError as error:
        raise _unreadable(display_name(path), error) from error
    return io.BufferedReader(_Gunzip(raw, path)) if head.startswith(_GZIP) else raw


class _Gunzip(io.RawIOBase):
    """Decompresses, and refuses files built to fill a disk or keep a program busy."""

    def __init__(self, raw: io.BufferedReader, path: str) -> None:
        self._compressed = _Counted(raw)
        self._content = gzip.GzipFile(fileobj=cast("BinaryIO", self._compressed))
        self._name = display_name(path)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        content = self._content.read1(len(view))
        self._size += len(content)
        if self._size > FREE_EXPANSION + ALLOWED_EXPANSION * self._compressed.size:
            msg = (
                f"{self._name} decompresses to more than {ALLOWED_EXPANSION} times its size;"
                " if it is meant to, decompress it and submit that"
            )
            raise InputError(msg)
        view[: len(content)] = content
        return len(content)


class _Counted:
    """Counts the bytes that are read."""

    def __init__(self, raw: io.BufferedReader) -> None:
        self.size = 0
        self._raw = raw

    def read(self, size: int = -1, /) -> bytes:
        content = self._raw.read(size)
        self.size += len(content)
        return content


def _unreadable(name: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file {name}")
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{name} cannot be read: {reason}; give a whole file that you may read")
