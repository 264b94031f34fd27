"""A process that trains in forked children, so that a test can kill them at little cost.

Importing torch takes seconds, a fork none. Commands come as JSON lines on stdin: a dict with
"folder", "options" (KEY, VALUE, ...), "resume" and perhaps "die_in_save" starts a training; the
answer is its process id. Afterwards "wait" is answered with the exit status.
"""

import json
import os
import signal
import sys
import threading
import traceback
from functools import partial
from pathlib import Path

import torch

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.engine import DefaultTrainer, launch, run_tool
from d2lite.utils import comm
from d2lite.utils.env import seed_all_rng
from d2lite.utils.logger import setup_logger

from . import toys
from .conftest import CLASSES, make_records

# Small enough for steps of some milliseconds.
OPTIONS = {
    "MODEL.META_ARCHITECTURE": toys.ToyDetector.__name__,
    "MODEL.DEVICE": "cpu",
    "MODEL.MASK_ON": False,
    "DATASETS.TRAIN": ("kill_train",),
    "DATASETS.TEST": ("kill_val",),
    "DATALOADER.NUM_WORKERS": 0,
    "INPUT.MIN_SIZE_TRAIN": (24, 32),
    "INPUT.MIN_SIZE_TEST": 32,
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.ACCUMULATE_STEPS": 2,
    "SOLVER.BASE_LR": 0.01,
    "SOLVER.WARMUP_ITERS": 5,
    "SOLVER.STEPS": (30,),
    "SOLVER.MAX_ITER": 50,
    "SOLVER.CHECKPOINT_PERIOD": 4,
    "SOLVER.CHECKPOINT_MAX_TO_KEEP": 2,
    "SOLVER.BEST_CHECKPOINT.METRIC": "bbox/AP",
    "TEST.EVAL_PERIOD": 10,
    "TEST.LOSS_PERIOD": 6,
    "MODEL_EMA.ENABLED": True,
    "MODEL_EMA.DECAY": 0.9,
    "SEED": 5,
}


def register_sets(folder: Path) -> None:
    """Draw the images, if that was not done, and register them."""
    # Of its own for each process, so that none reads what another one draws anew.
    images = folder / f"images_{os.getpid()}"
    images.mkdir(parents=True, exist_ok=True)
    records = make_records(images, 20)
    for name, part in {"kill_train": records[:16], "kill_val": records[16:]}.items():
        DatasetCatalog.register(name, lambda part=part: part)
        MetadataCatalog.get(name).set(evaluator_type="coco", thing_classes=CLASSES)


def make_cfg(folder: Path, options: list) -> object:
    """The config of a run into `folder`."""
    cfg = get_cfg()
    for key, value in OPTIONS.items():
        cfg.merge_from_list([key, value])
    cfg.merge_from_list(["OUTPUT_DIR", str(folder), *options])
    return cfg


def train(order: dict) -> None:
    """Train as told."""
    folder = Path(order["folder"])
    if "kill_train" not in DatasetCatalog:
        # A process that was spawned and not forked.
        register_sets(folder.parent)
    setup_logger(str(folder), distributed_rank=comm.get_rank(), name="d2lite")
    if "die_in_save" in order:
        die_in_save(*order["die_in_save"])
    cfg = make_cfg(folder, order["options"])
    # As default_setup does: the first weights are drawn from the seed.
    seed_all_rng(cfg.SEED)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=order["resume"])
    tell_progress(trainer, folder, order.get("pause_at", -1))
    trainer.train()


def tell_progress(trainer: DefaultTrainer, folder: Path, pause_at: int) -> None:
    """Write down how many steps this process has made, and let time pass at one of them."""
    run_step = trainer._trainer.run_step
    file = os.open(folder / "progress", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def telling() -> None:
        run_step()
        if comm.is_main_process():
            os.pwrite(file, b"%6d" % (trainer.iter - trainer.start_iter + 1), 0)
        if trainer.iter == pause_at:
            (folder / "reached").touch()
            threading.Event().wait(2.0)

    trainer._trainer.run_step = telling


def die_in_save(number: int, share: float) -> None:
    """Let the process be killed when that share of the `number`th checkpoint is written."""
    save, count = torch.save, 0

    class Dying:
        def __init__(self, stream) -> None:
            self.stream, self.written = stream, 0

        def write(self, data) -> int:
            self.written += len(data)
            if share < 1 and self.written > share * 15_000:
                self.stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return self.stream.write(data)

        def flush(self) -> None:
            self.stream.flush()

    def save_or_die(content, stream) -> None:
        nonlocal count
        count += "model" in content
        save(content, Dying(stream) if count == number else stream)
        if count == number and share >= 1:
            # Whole, and not yet under its name.
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save_or_die


def main() -> None:
    """Take orders."""
    torch.set_num_threads(1)
    register_sets(Path(sys.argv[1]))
    print("ready", flush=True)
    child = 0
    for line in sys.stdin:
        order = json.loads(line)
        if order == "wait":
            _, status = os.waitpid(child, 0)
            print(status, flush=True)
            continue
        child = os.fork()
        if child == 0:
            os._exit(be_child(order))
        print(child, flush=True)


def be_child(order: dict) -> int:
    """Train as a program of its own would, and say how it ended."""
    os.setpgid(0, 0)
    # Whatever the tests themselves were started with.
    signal.signal(signal.SIGHUP, signal.SIG_IGN if order.get("by_nohup") else signal.SIG_DFL)
    folder = Path(order["folder"])
    folder.mkdir(exist_ok=True)
    with open(folder / "console.txt", "a") as console:
        os.dup2(console.fileno(), 1)
        os.dup2(console.fileno(), 2)
    work = partial(launch, train, order.get("processes", 1), args=(order,))
    try:
        run_tool(work)
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    return 1


if __name__ == "__main__":
    main()
