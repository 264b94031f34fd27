"""History: the values of one scalar over a whole run, in little memory."""

from array import array
from collections.abc import Iterator
from typing import Any

from fvcore.common.history_buffer import HistoryBuffer

Pair = tuple[float, int]


class _Pairs:
    """(value, iteration) pairs, a list to those who read and two arrays inside."""

    def __init__(self) -> None:
        self._values = array("d")
        self._iterations = array("q")

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Pair]:
        return zip(self._values, self._iterations, strict=True)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(zip(self._values[index], self._iterations[index], strict=True))
        return self._values[index], self._iterations[index]

    def append(self, pair: Pair) -> None:
        value, iteration = pair
        self._values.append(value)
        self._iterations.append(iteration)

    def pop(self, index: int) -> Pair:
        return self._values.pop(index), self._iterations.pop(index)


class History(HistoryBuffer):  # type: ignore[misc]  # fvcore ships no types
    """fvcore's history at 16 bytes a value instead of some hundred.

    A run of 270,000 iterations keeps some twenty scalars, which would fill half a gigabyte.
    """

    def __init__(self, max_length: int = 1_000_000) -> None:
        """Begin empty.

        Args:
            max_length: values that are kept; older ones count in `global_avg` alone.
        """
        super().__init__(max_length)
        self._data: Any = _Pairs()

    def values(self) -> list[Pair]:
        """All (value, iteration) pairs that are kept, oldest first."""
        return list(self._data)
