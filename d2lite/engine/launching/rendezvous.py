"""Rendezvous: the store through which processes and launchers find each other and report an end."""

import logging
import pickle
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import torch.distributed as dist

from d2lite.utils.errors import ConfigError, RunInterrupted, UserError
from d2lite.utils.system_limits import refusal_of_system

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAILURE = "d2lite/failure"
INTERRUPTION = "d2lite/interruption"
_MACHINES_LEFT = "d2lite/machines_left"
# Seconds that the launcher with the store waits for the others to read why the run ended.
_LEAVE_TIMEOUT = 5.0
_LOOPBACK = "127.0.0.1"


class StoreAddress(NamedTuple):
    """Where a process finds the store, and how it joins the group if not through the store."""

    host: str
    port: int
    init_method: str = ""


class Ending(NamedTuple):
    """How a process ended otherwise than by finishing.

    Attributes:
        rank: number of the process.
        text: the traceback.
        error: the exception, if the launcher is to raise it as it is and it can be pickled.
    """

    rank: int
    text: str
    error: UserError | RunInterrupted | None = None

    @classmethod
    def now(cls, rank: int, error: BaseException) -> "Ending":
        """Describe the exception that is being handled."""
        shown = error if isinstance(error, UserError | RunInterrupted) else refusal_of_system(error)
        return cls(rank, traceback.format_exc(), shown)

    def write(self, store: Any) -> None:
        """Leave it in the store, if it can be reached and no other process ended so before."""
        key = INTERRUPTION if isinstance(self.error, RunInterrupted) else FAILURE
        try:
            content = pickle.dumps(self)
        except Exception:  # a user's own error type may hold anything
            content = pickle.dumps(self._replace(error=None))
        with suppress(RuntimeError):
            store.compare_set(key, "", content)  # "" stands for a key that is absent


class Rendezvous:
    """The view of one machine's launcher on the store.

    Machine 0's launcher serves the store, so that the port is never free between its choice and
    its use, and so that a failure can still be read after the failed process is gone.

    Attributes:
        address: what processes need to join.
        is_reachable: False once the machine that serves the store is gone.
    """

    def __init__(
        self,
        dist_url: str | None,
        *,
        num_machines: int = 1,
        machine_rank: int = 0,
        timeout: timedelta,
    ) -> None:
        """Open the store, or connect to it.

        Args:
            dist_url: "tcp://HOST:PORT"; None or "auto" for a free port of this machine. With any
                other address, processes join as torch.distributed does there, and machines do
                not learn of each other's failures.
            num_machines: number of launchers.
            machine_rank: number of this one.
            timeout: how long to wait for machine 0.

        Raises:
            ConfigError: if the address is not valid, is taken or cannot be reached.
        """
        self.is_reachable = True
        self._num_machines = num_machines
        self._is_server = machine_rank == 0
        if dist_url in (None, "auto") or not str(dist_url).startswith("tcp://"):
            self._num_machines = 1
            self._store = open_store(_LOOPBACK, 0, timeout, is_server=True)
            init_method = "" if dist_url in (None, "auto") else str(dist_url)
            self.address = StoreAddress(_LOOPBACK, self._store.port, init_method)
            return
        host, port = _parse(str(dist_url))
        if not self._is_server:
            logger.info(f"Waiting for machine 0 at {dist_url}")
        try:
            self._store = open_store(host, port, timeout, is_server=self._is_server)
        except RuntimeError as error:
            question = "Is the port taken?" if self._is_server else "Does machine 0 run?"
            raise ConfigError(
                f"Cannot use --dist-url {dist_url}: {str(error).splitlines()[0]} {question} "
                "Give all machines the address of machine 0 and a free port of it."
            ) from error
        self.address = StoreAddress(host, self._store.port)

    def write(self, ending: Ending) -> None:
        """Report an ending to the other machines."""
        self._call(ending.write)

    def read(self, key: str) -> Ending | None:
        """The first ending of this kind on any machine; None if there is none.

        Args:
            key: `FAILURE` or `INTERRUPTION`.
        """
        if not self._call(lambda store: store.check([key])):
            return None
        content = self._call(lambda store: store.get(key))
        return pickle.loads(content) if content else None

    def leave(self) -> None:
        """Close the store; the machine that serves it waits until the others have left."""
        if self._num_machines > 1:
            self._call(lambda store: store.add(_MACHINES_LEFT, 1))
            end = time.monotonic() + _LEAVE_TIMEOUT
            while self._is_server and time.monotonic() < end:
                if self._call(lambda store: store.add(_MACHINES_LEFT, 0)) == self._num_machines:
                    break
                time.sleep(0.1)
        self._store = None

    def _call(self, function: Callable[[Any], T]) -> T | None:
        """What the function returns for the store; None if the store cannot be reached."""
        if not self.is_reachable:
            return None
        try:
            return function(self._store)
        except RuntimeError:  # what torch raises when a connection ends
            self.is_reachable = False
            return None


def open_store(host: str, port: int, timeout: timedelta, *, is_server: bool = False) -> Any:
    """Return a client of the store at an address; on its server, serve it too."""
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=is_server, wait_for_workers=False, timeout=timeout
    )


def _parse(dist_url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(dist_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ConfigError(
            f"--dist-url {dist_url!r} is not an address; give tcp://HOST:PORT, where HOST is the "
            "machine of rank 0 and PORT a free port of it."
        )
    return host, port
