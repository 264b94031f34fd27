"""Text, JSON and XML of label files, in whatever encoding a tool wrote them."""

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_heads import hint_on_content
from d2lite.utils.file_io import refuse_special_file
from d2lite.utils.garbage_collection import paused_garbage_collection

_XML_DECLARATION = re.compile(r"\s*<\?xml.*?\?>", re.DOTALL)
_LONE_AMPERSAND = re.compile(r"&(?!#?\w+;)")
_XML_ENCODING = re.compile(rb"[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
_HEAD_BYTES = 400
# Largest file of text or XML with the labels of one image. Parsed it takes up to 40 times as much.
MAX_IMAGE_LABELS = 6 * 2**20


def decode(data: bytes, declared: str = "") -> str:
    """The text of a file, without a byte order mark.

    Args:
        data: the content.
        declared: the encoding that the file names itself; may be wrong.

    Returns:
        As UTF-8, 16 or 32 where it is one of these, else as declared, else as GB18030 (Windows in
        Chinese) or Latin-1, which fits all bytes.
    """
    unicode = json.detect_encoding(data)
    # Bytes of GBK may look like UTF-8, so another declared encoding comes first.
    is_other = unicode == "utf-8" and declared and not declared.lower().startswith("utf")
    for encoding in ([declared] if is_other else []) + [unicode, "gb18030"]:
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except (UnicodeError, LookupError):
            continue
    return data.decode("latin-1")


def read_text(path: str | os.PathLike[str], max_bytes: int | None = None) -> str:
    """The text of a file, see `decode`.

    Args:
        path: of the file.
        max_bytes: refuse a larger file before it is read.

    Raises:
        MissingFileError: if it cannot be opened.
        DataError: if it is too large.
    """
    return decode(_read_bytes(path, max_bytes))


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file that are not empty, without blanks around them; see `read_text`."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file.

    Raises:
        MissingFileError: if it cannot be opened.
        DataError: if it is not JSON, with the line.
    """
    text = read_text(path)
    try:
        with paused_garbage_collection():
            return json.loads(text)
    except (ValueError, RecursionError) as err:
        raise no_json(path, err, text[:64].encode(errors="replace")) from err


def no_json(path: str | os.PathLike[str], err: Exception, content: bytes) -> DataError:
    """The error for a file that is not JSON.

    Args:
        path: of the file.
        err: what its reader raised.
        content: how it begins.
    """
    why = hint_on_content(content) or " Is the download complete?"
    return DataError(f"{path} is not valid JSON: {err}.{why}")


def read_xml(path: str | os.PathLike[str], max_bytes: int | None = None) -> ElementTree.Element:
    """The root of an XML file, its tags without their namespaces.

    Args:
        path: of the file.
        max_bytes: refuse a larger file before it is read.

    Raises:
        MissingFileError: if it cannot be opened.
        DataError: if it is not XML, or too large.
    """
    data = _read_bytes(path, max_bytes)
    found = _XML_ENCODING.match(data[:_HEAD_BYTES].replace(b"\0", b""))
    text = decode(data, found[1].decode("ascii", "replace") if found else "")
    try:
        # The parser knows few encodings; a text needs none.
        text = _XML_DECLARATION.sub("", text, count=1)
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError:  # scripts write "a&b.jpg" as it is
            root = ElementTree.fromstring(_LONE_AMPERSAND.sub("&amp;", text))
    except (ElementTree.ParseError, ValueError) as err:
        raise DataError(f"{path} is not valid XML: {err}.") from err
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _read_bytes(path: str | os.PathLike[str], max_bytes: int | None = None) -> bytes:
    try:
        refuse_special_file(path)
        size = os.path.getsize(path)
        if max_bytes is None or size <= max_bytes:
            return Path(path).read_bytes()
    except (OSError, ValueError) as err:  # a name with a zero byte is a ValueError
        why = getattr(err, "strerror", None) or err
        raise MissingFileError(f"{path} cannot be read: {why}.") from err
    raise DataError(
        f"{path} has {size / 2**20:.0f} MiB; labels of one image are read up to "
        f"{max_bytes / 2**20:.0f} MiB. Is it a file of labels?"
    )
