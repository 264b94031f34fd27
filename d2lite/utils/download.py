"""Fetching a file over http(s): resumed after an interruption, checked, complete or absent."""

import contextlib
import hashlib
import logging
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from iopath.common.file_io import file_lock
from portalocker.exceptions import LockException

from .errors import DataError, MissingFileError, OutputError, UserError
from .licences import licence_of
from .live_line import live_line, on_terminal

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_ATTEMPTS = 4
_TIMEOUT_S = 60
_LINE_PERIOD_S = 0.2
# A server that sends fewer bytes than this in so many seconds is given up.
_STALL_S, _STALL_BYTES = 60.0, 60 * 1024
# As torchvision names files: the first digits of the SHA-256 come before the suffix.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[^.-]+$")


def split_address(url: str) -> urllib.parse.SplitResult:
    """The parts of an address.

    Raises:
        MissingFileError: if it is not an address, as with an open bracket.
    """
    try:
        return urllib.parse.urlsplit(url)
    except ValueError as error:
        raise MissingFileError(f"{url} is not an address that can be read: {error}.") from error


def cached_path(url: str, folder: Path) -> Path:
    """Where a file is kept.

    Returns:
        The folder, then host and path of the address; a query becomes part of the name.

    Raises:
        MissingFileError: if it is not an address.
    """
    parts = split_address(url)
    steps = [urllib.parse.unquote(step) for step in parts.path.split("/")]
    safe = [re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", step) for step in steps]
    safe = [step for step in safe if step not in ("", ".", "..")] or ["index"]
    if parts.query:
        safe[-1] = f"{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}-of-{safe[-1]}"
    host = re.sub(r"[^\w.-]", "_", parts.netloc.rpartition("@")[2])
    return folder.joinpath(host, *safe)


class _BadAnswer(Exception):
    """A server's answer that contradicts itself or the request."""


def download(url: str, target: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Fetch a file, unless it is there already.

    The content goes to `TARGET.part` first. What is there from an attempt that broke off is kept
    and gone on from, if the server still has the same file. Processes that want the same file wait
    for the one that fetches it.

    Args:
        url: address, http or https.
        target: where the file goes. If its name ends in a dash and 8 or more hexadecimal digits
            before its suffix, they must be the beginning of the file's SHA-256.
        force: fetch it again.

    Returns:
        `target`.

    Raises:
        MissingFileError: if the server has no such file or cannot be reached.
        DataError: if the content is not what the name says.
        OutputError: if the file cannot be written.
    """
    path = Path(target)
    if path.is_file() and not force:
        return path
    try:
        with file_lock(str(path)):
            if not path.is_file() or force:
                part = path.with_name(f"{path.name}.part")
                _fetch(url, part)
                _check_hash(url, path.name, part)
                os.replace(part, path)
                logger.info("Fetched %s to %s (%s)", url, path, _size(path.stat().st_size))
    except LockException as err:
        raise MissingFileError(
            f"{url}: another process has been fetching it to {path} for too long. If there is "
            f"none, delete {path}.lock and start again."
        ) from err
    except UserError:
        raise
    except OSError as err:
        raise OutputError(f"{url} cannot be written to {path}: {err.strerror or err}.") from err
    finally:
        # A process that still waits for the lock finds the file when its turn comes.
        with contextlib.suppress(OSError):
            Path(f"{path}.lock").unlink()
    return path


def _fetch(url: str, part: Path) -> None:
    """Fill a partial file up, in several attempts."""
    terms = licence_of(url)
    logger.info("Fetching %s%s", url, f" ({terms}; see docs/licences.md)" if terms else "")
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            if _fetch_rest(url, part):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as err:
            reason = f"the server answers {err.code} {err.reason}"
            if err.code == 416:  # what we have is longer than the server's file, so another one
                part.unlink(missing_ok=True)
            elif err.code < 500:
                break
        except _BadAnswer as err:
            # What came before may belong to another version of the file.
            part.unlink(missing_ok=True)
            reason = str(err)
        except (HTTPException, urllib.error.URLError, ConnectionError, TimeoutError) as err:
            reason = str(getattr(err, "reason", err) or type(err).__name__)
        except ValueError as err:
            # An address that is none; a length or a chunk that is not a number.
            reason = f"the address or the answer is malformed ({err})"
    kept = f" {_size(part.stat().st_size)} are kept." if part.is_file() else ""
    reason = " ".join(reason.split())  # some messages of Python have several lines
    raise MissingFileError(
        f"{url} cannot be fetched: {reason}.{kept} Check the address and the network and start "
        "again, which goes on where it broke off; or fetch the file by other means and give its "
        "path."
    )


def _fetch_rest(url: str, part: Path) -> bool:
    """Ask for what is missing of a file; returns whether all of it has come."""
    validator = part.with_name(f"{part.name}.tag")
    begin = part.stat().st_size if part.is_file() and validator.is_file() else 0
    request = urllib.request.Request(_quoted(url), headers={"User-Agent": "d2lite"})
    if begin:
        request.add_header("Range", f"bytes={begin}-")
        # The server sends the whole file if it is not the one that we have a part of.
        request.add_header("If-Range", validator.read_text(encoding="utf-8"))
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        is_rest = answer.status == 206
        _refuse_encoded(answer, url)
        total = _total_length(answer, begin, validator)
        begin = begin if is_rest else 0
        part.parent.mkdir(parents=True, exist_ok=True)
        if not is_rest:
            _note_validator(answer, validator)
        have = _copy(answer, part, "ab" if is_rest else "wb", _progress(part.stem, begin, total))
    if not begin + have:
        raise _BadAnswer("the server sends an empty file")
    if total is not None and begin + have > total:
        raise _BadAnswer(f"the server sends {begin + have} bytes of a file of {total}")
    is_whole = total is None or begin + have == total
    if is_whole:
        validator.unlink(missing_ok=True)
    return is_whole


def _refuse_encoded(answer: HTTPResponse, url: str) -> None:
    """Refuse a file that is sent compressed, though nobody asked for that.

    Of a .gz file some servers say so as well; its own bytes are what comes.

    Raises:
        _BadAnswer: if it is compressed.
    """
    encoding = answer.headers.get("Content-Encoding", "identity").strip()
    is_own = urllib.parse.urlsplit(url).path.endswith((".gz", ".tgz"))
    if encoding not in ("", "identity") and not is_own:
        raise _BadAnswer(f"the server sends it compressed ({encoding})")


def _quoted(url: str) -> str:
    """An address in ASCII: blanks and letters of other scripts are escaped."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    return urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))


def _total_length(answer: HTTPResponse, begin: int, validator: Path) -> int | None:
    """The length of the whole file, as the server says it; None if it does not.

    Raises:
        _BadAnswer: if the rest that comes is not the rest that was asked for.
    """
    length = answer.headers.get("Content-Length")
    if length is not None and not length.strip().isdigit():
        raise _BadAnswer(f"the server states the length {length!r}")
    if answer.status != 206:
        return None if length is None else int(length)
    stated = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"\s*bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", stated)
    if found is None or not begin or int(found[1]) != begin:
        raise _BadAnswer(f"asked for the bytes from {begin} on, the server sends {stated!r}")
    tag = answer.headers.get("ETag")
    if tag and validator.is_file() and tag not in (mark := validator.read_text(encoding="utf-8")):
        raise _BadAnswer(f"the file changed on the server while it was fetched ({mark} to {tag})")
    if length is not None and int(found[2]) - begin + 1 != int(length):
        raise _BadAnswer(f"the server sends {length} bytes for the range {stated!r}")
    return int(found[2]) + 1 if found[3] == "*" else int(found[3])


def _note_validator(answer: HTTPResponse, validator: Path) -> None:
    """Remember which version of the file is being fetched; without a mark, none is resumed."""
    tag = answer.headers.get("ETag") or ""
    mark = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")
    if mark:
        validator.write_text(mark, encoding="utf-8")
    else:
        validator.unlink(missing_ok=True)


def _copy(answer: HTTPResponse, part: Path, mode: str, tell: Callable[[int], None]) -> int:
    """Write what comes; a server that is too slow is given up, and what came is kept."""
    have = counted = 0
    since = time.monotonic()
    try:
        with open(part, mode) as stream:
            # One read of the network at a time, so that a slow server is noticed.
            while chunk := answer.read1(_CHUNK):
                stream.write(chunk)
                have += len(chunk)
                tell(have)
                if time.monotonic() - since > _STALL_S:
                    if have - counted < _STALL_BYTES:
                        raise TimeoutError(
                            f"the server sent {have - counted} bytes in {_STALL_S:g} seconds"
                        )
                    since, counted = time.monotonic(), have
            stream.flush()
            os.fsync(stream.fileno())
    finally:
        live_line.finish()
    return have


def _progress(name: str, begin: int, total: int | None) -> Callable[[int], None]:
    """A function that shows how far it has come, where somebody watches."""
    if not on_terminal():
        return lambda have: None
    started = shown = time.monotonic()

    def tell(have: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < _LINE_PERIOD_S:
            return
        shown = now
        speed = have / max(now - started, 1e-9)
        share = "" if total is None else f" of {_size(total)} ({(begin + have) / total:.0%})"
        left = "" if total is None else f", {(total - begin - have) / max(speed, 1):.0f} s left"
        live_line.show(f"{name}: {_size(begin + have)}{share}, {_size(int(speed))}/s{left}")

    return tell


def _check_hash(url: str, name: str, part: Path) -> None:
    wanted = _HASH_IN_NAME.search(name)
    if wanted is None:
        return
    digest = hashlib.sha256()
    with open(part, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    if not found.startswith(wanted[1]):
        part.unlink()
        raise DataError(
            f"{url} is damaged or another file: its SHA-256 begins with {found[: len(wanted[1])]}, "
            f"its name says {wanted[1]}. What came was deleted; try again, or ask who publishes it."
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
