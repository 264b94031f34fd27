"""Files inside of uncompressed tar archives: tar://ARCHIVE#OFFSET+SIZE/NAME."""

import io
import re
from collections.abc import Callable
from typing import IO, Any

from iopath.common.file_io import PathHandler

from .errors import DataError

__all__ = ["TarMemberHandler", "member_address"]

_PREFIX = "tar://"
_ADDRESS = re.compile(r"tar://(.+)#(\d+)\+(\d+)/([^#]*)", re.DOTALL)


def member_address(archive: str, offset: int, size: int, name: str) -> str:
    """The address of a member.

    Args:
        archive: path or address of the archive.
        offset: of the member's content in it, in bytes.
        size: of the content, in bytes.
        name: of the member; only its ending is used.
    """
    return f"{_PREFIX}{archive}#{offset}+{size}/{name.replace('#', '_')}"


class TarMemberHandler(PathHandler):  # type: ignore[misc]  # iopath ships no types
    """Reads members by their place, without looking through the archive."""

    def __init__(self, local_path: Callable[[str], str]) -> None:
        """Make a handler.

        Args:
            local_path: address or path of an archive -> its path on this machine.
        """
        super().__init__()
        self._local_path = local_path

    def _get_supported_prefixes(self) -> list[str]:
        return [_PREFIX]

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        found = _ADDRESS.fullmatch(path)
        if found is None or mode != "rb":
            raise ValueError(f"{path} is not tar://ARCHIVE#OFFSET+SIZE/NAME, read in mode 'rb'.")
        archive, offset, size = found[1], int(found[2]), int(found[3])
        with open(self._local_path(archive), "rb") as stream:
            stream.seek(offset)
            content = stream.read(size)
        if len(content) != size:
            raise DataError(
                f"{archive} is shorter than when it was indexed: {found[4]} is cut off. Fetch the "
                "archive again, and start again."
            )
        return io.BytesIO(content)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return _ADDRESS.fullmatch(path) is not None
