"""What a file is that was taken for another one, by its first bytes."""

from contextlib import suppress
from pathlib import Path

_LFS_POINTER = b"version https://git-lfs"
_WEB_PAGE = (b"<!doctype html", b"<html")
# The containers in which telephones write photographs, after four bytes of a length.
_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1")
_AVIF = (b"ftypavif", b"ftypavis")
_HEAD_BYTES = 64


def hint_on_file(path: Path) -> str:
    """What a file is in place of what was expected, as `hint_on_content` says it."""
    with suppress(OSError, ValueError):  # of a name that no file can have, too
        if path.is_file():  # to open a named pipe would wait for ever
            with path.open("rb") as stream:
                return hint_on_content(stream.read(_HEAD_BYTES))
    return ""


def hint_on_content(content: bytes) -> str:
    """What a file is in place of what was expected, and what to do.

    Args:
        content: of the file, or how it begins.

    Returns:
        A sentence that begins with a blank; "" where it is not known.
    """
    head = content[:_HEAD_BYTES]
    if head.startswith(_LFS_POINTER):
        return " It is a pointer of Git LFS: `git lfs pull` in its folder fetches the file itself."
    if head.lstrip()[:16].lower().startswith(_WEB_PAGE):
        return " It is a web page: its address is not that of the file, or asks for a login."
    if head[4:12] in _HEIC:
        return " It is a HEIC photograph, which is not read: convert it to JPEG."
    if head[4:12] in _AVIF:
        return " It is an AVIF photograph: if it is whole, `pip install 'Pillow>=11.3'` reads it."
    return ""
