"""How many worker threads torch has, and how they wait for each other."""

import os

from .cores import bound_cores, usable_cores

# Says in processes that are started later that the number is our limit and nobody's choice.
_OUR_LIMIT = "D2LITE_OMP_LIMIT"


def limit_spinning() -> None:
    """Let OpenMP threads spin for a short while only, unless the environment says otherwise.

    By default they spin long while they wait, which takes the time that loader processes or other
    programs on the same cores need. Beside one busy process on 2 cores, 1,500 small operators in
    two threads took 2.2 to 8.3 s, and 0.3 s with a short spin; a training step took 4.2 s, and
    1.1 s. Alone there was no difference that could be measured.

    OpenMP reads the variable when torch is loaded; set after that it changed nothing (2.1 to
    5.0 s). So `launch` could set it for the processes that it starts, but not for a run of one
    process or for a predictor. Importing d2lite is early enough for these where torch is imported
    later, as in tools/.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def limit_number() -> None:
    """Let OpenMP start no more threads than a container's quota has cores.

    A number in the environment stays. OpenMP counts the cores that the process may run on. Where it
    gets less of their time, all threads stand still for the rest of a period that some used up.
    """
    if usable_cores() < bound_cores() and "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = os.environ[_OUR_LIMIT] = str(usable_cores())


def is_number_chosen() -> bool:
    """Whether the environment says how many threads a process has, other than by our limit."""
    return os.environ.get("OMP_NUM_THREADS") not in (None, os.environ.get(_OUR_LIMIT))
