"""Where the processes of several machines meet, and hear of each other's failures."""

import logging
import time
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import torch.distributed as dist

from d2lite.utils.errors import ConfigError

logger = logging.getLogger(__name__)

_FAILURE = "d2lite/failure"
_LEFT = "d2lite/machines_left"
# How long the machine that holds the store waits for the others to hear what it has to tell.
_FAREWELL = 5.0
_LOOPBACK = "127.0.0.1"


class MeetingPoint(NamedTuple):
    """An address: host and port of a store, or any other that torch.distributed knows."""

    host: str
    port: int
    url: str = ""

    def for_process(self, timeout: timedelta) -> dict[str, Any]:
        """Return the arguments of `init_process_group` that say where to meet.

        Args:
            timeout: how long to wait for the store.
        """
        if self.url:
            return {"init_method": self.url}
        return {"store": _store(self.host, self.port, timeout, is_holder=False)}


class Meeting:
    """The launchers of all machines: a store that outlives their processes.

    Machine 0's launcher holds the store, so that the port is never free between its choice and
    its use, and so that a failure can still be told when the process that failed is gone.

    Attributes:
        point: what processes have to know.
        is_reachable: False when the machine that holds the store has gone.
    """

    def __init__(
        self,
        dist_url: str | None,
        *,
        num_machines: int = 1,
        machine_rank: int = 0,
        timeout: timedelta,
    ) -> None:
        """Open the place, or find it.

        Args:
            dist_url: "tcp://HOST:PORT"; None or "auto" for a free port of this machine; another
                address is left to torch.distributed.
            num_machines: how many launchers meet.
            machine_rank: of this one.
            timeout: how long to wait for machine 0.

        Raises:
            ConfigError: if the address is none, is taken or cannot be reached.
        """
        self.is_reachable = True
        self._is_holder = machine_rank == 0
        self._num_machines = num_machines
        self._store: Any = None
        if dist_url in (None, "auto"):
            self._store = _store(_LOOPBACK, 0, timeout, is_holder=True)
            self.point = MeetingPoint(_LOOPBACK, self._store.port)
            return
        assert dist_url is not None
        if not dist_url.startswith("tcp://"):
            self.point = MeetingPoint("", 0, dist_url)
            return
        host, port = _parse(dist_url)
        if not self._is_holder:
            logger.info(f"Waiting for machine 0 at {dist_url}")
        try:
            self._store = _store(host, port, timeout, is_holder=self._is_holder)
        except RuntimeError as error:
            mend = "Is the port taken?" if self._is_holder else "Does machine 0 run?"
            raise ConfigError(
                f"--dist-url {dist_url} is no place to meet: {str(error).splitlines()[0]} {mend} "
                "Give all machines the address of machine 0 and a free port of it."
            ) from error
        self.point = MeetingPoint(host, self._store.port)

    def tell_failure(self, text: str) -> None:
        """Let the other machines know why the run ended.

        Args:
            text: goes behind "The run failed".
        """
        if self._num_machines > 1 and self._ask(lambda store: store.check([_FAILURE])) is False:
            self._ask(lambda store: store.set(_FAILURE, text))

    def failure_elsewhere(self) -> str:
        """What another machine told; "" if there is nothing to tell."""
        if self._num_machines == 1 or not self._ask(lambda store: store.check([_FAILURE])):
            return ""
        told = self._ask(lambda store: store.get(_FAILURE))
        return told.decode() if told else ""

    def leave(self) -> None:
        """Close the place; the machine that holds it waits a moment for the others."""
        if self._num_machines > 1 and self._store is not None:
            self._ask(lambda store: store.add(_LEFT, 1))
            end = time.monotonic() + _FAREWELL
            while self._is_holder and time.monotonic() < end:
                left = self._ask(lambda store: store.add(_LEFT, 0))
                if left is None or left >= self._num_machines:
                    break
                time.sleep(0.1)
        self._store = None

    def _ask(self, question: Any) -> Any:
        """The store's answer; None where there is no store or no answer."""
        if self._store is None or not self.is_reachable:
            return None
        try:
            return question(self._store)
        except RuntimeError:  # what torch raises when a connection ends
            self.is_reachable = False
            return None


def _store(host: str, port: int, timeout: timedelta, *, is_holder: bool) -> Any:
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=is_holder, wait_for_workers=False, timeout=timeout
    )


def _parse(dist_url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(dist_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise ConfigError(
            f"--dist-url {dist_url!r} is no address; give tcp://HOST:PORT, where HOST is the "
            "machine of rank 0 and PORT a free port of it."
        )
    return host, port
