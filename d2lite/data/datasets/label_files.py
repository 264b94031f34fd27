"""Text, JSON and XML of label files, in whatever encoding a tool wrote them."""

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from d2lite.utils.errors import DataError, MissingFileError
from d2lite.utils.file_io import refuse_special_file
from d2lite.utils.garbage_collection import paused_garbage_collection

_XML_DECLARATION = re.compile(r"\s*<\?xml.*?\?>", re.DOTALL)
_XML_ENCODING = re.compile(rb"[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")
_HEAD_BYTES = 400


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


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file, see `decode`.

    Raises:
        MissingFileError: if it cannot be opened.
    """
    return decode(_read_bytes(path))


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
        raise DataError(f"{path} is not valid JSON: {err}. Is the download complete?") from err


def read_xml(path: str | os.PathLike[str]) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        MissingFileError: if it cannot be opened.
        DataError: if it is not XML.
    """
    data = _read_bytes(path)
    found = _XML_ENCODING.match(data[:_HEAD_BYTES].replace(b"\0", b""))
    text = decode(data, found[1].decode("ascii", "replace") if found else "")
    try:
        # The parser knows few encodings; a text needs none.
        return ElementTree.fromstring(_XML_DECLARATION.sub("", text, count=1))
    except (ElementTree.ParseError, ValueError) as err:
        raise DataError(f"{path} is not valid XML: {err}.") from err


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        refuse_special_file(path)
        return Path(path).read_bytes()
    except (OSError, ValueError) as err:  # a name with a zero byte is a ValueError
        why = getattr(err, "strerror", None) or err
        raise MissingFileError(f"{path} cannot be read: {why}.") from err
