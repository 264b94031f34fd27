"""read_environment: the place of a process that torchrun or Slurm's srun started."""

import os
import re
from datetime import timedelta
from typing import Any, NamedTuple

import torch.distributed as dist

from d2lite.utils.errors import ConfigError

from .group import Place

_TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_FIRST_PORT, _NUM_PORTS = 20_000, 10_000


class Started(NamedTuple):
    """A process that was started from outside, as one of several.

    Attributes:
        starter: name of the program that started it.
        place: of the process.
        init_method: where the processes find each other.
    """

    starter: str
    place: Place
    init_method: str


def read_environment() -> Started | None:
    """Return what torchrun or srun set; None if neither started this process as one of several.

    Raises:
        ConfigError: if Slurm's nodes have different numbers of tasks.
    """
    env = os.environ
    if all(name in env for name in _TORCHRUN_VARIABLES):
        world_size = int(env["WORLD_SIZE"])
        local_size = int(env.get("LOCAL_WORLD_SIZE", world_size))
        place = Place(int(env["RANK"]), world_size, int(env["LOCAL_RANK"]), local_size)
        return Started("torchrun", place, "env://")
    if "SLURM_PROCID" not in env or "SLURM_LOCALID" not in env or _is_batch_script():
        return None
    world_size = int(_slurm("NTASKS", "STEP_NUM_TASKS", "1"))
    if world_size == 1:
        return None
    tasks = _slurm("TASKS_PER_NODE", "STEP_TASKS_PER_NODE", str(world_size))
    numbers = re.findall(r"\d+", re.sub(r"\(x\d+\)", "", tasks))  # such as "4(x2),3"
    if len(set(numbers)) > 1:
        raise ConfigError(
            f"Slurm starts {tasks} tasks on its nodes; every node must have as many. "
            "Use --ntasks-per-node N."
        )
    place = Place(int(env["SLURM_PROCID"]), world_size, int(env["SLURM_LOCALID"]), int(numbers[0]))
    # A list of hosts such as "gpu[03-05,9],big1" begins with the host of rank 0.
    hosts = _slurm("NODELIST", "STEP_NODELIST", "127.0.0.1")
    first = re.sub(r"\[(\d+)[^]]*\]", r"\1", hosts).split(",")[0]
    # Each step of each job has a port of its own, which all of its processes can compute.
    job, step = int(env.get("SLURM_JOB_ID", 0)), int(env.get("SLURM_STEP_ID", 0))
    port = _FIRST_PORT + (job + 100 * step) % _NUM_PORTS
    address = f"{env.get('MASTER_ADDR', first)}:{env.get('MASTER_PORT', port)}"
    return Started("srun", place, f"tcp://{address}")


def was_restarted() -> bool:
    """Whether torchrun started this process in the place of one that was lost (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def store_after_restart(timeout: timedelta) -> Any | None:
    """The store through which processes that torchrun has started again find each other.

    torchrun's own store still holds the addresses of the processes that are gone, under the names
    that the new ones look for, so that they may wait for each other for ever.

    Args:
        timeout: how long processes wait for each other.

    Returns:
        The store under a name of this restart; None where torchrun has not restarted this process.
    """
    if not was_restarted() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    stores: Any = dist  # which has no types for them
    store = stores.TCPStore(host, port, is_master=False, timeout=timeout)
    return stores.PrefixStore(f"restart_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)


def _is_batch_script() -> bool:
    """Whether this is the script of an sbatch job itself, which looks like its first task."""
    return os.environ.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in os.environ


def _slurm(name: str, step_name: str, default: str) -> str:
    """A variable of Slurm: of the step that this process belongs to, else of the job."""
    return os.environ.get(f"SLURM_{step_name}") or os.environ.get(f"SLURM_{name}") or default
