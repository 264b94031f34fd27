"""What a training set costs, by its number of images: start, memory of a worker, sampler, scores.

python tests/data/scaling_benchmark.py 100 10000 1000000
python tests/data/scaling_benchmark.py --shared 100 10000 1000000

Records are generated, with five boxes an image, and no image is read. Each size is measured in a
process of its own. With --shared: the memory of two training processes with two workers each.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from d2lite.commands.benchmarking.coco_eval import coco_sides
from d2lite.data import DatasetFromList, build_detection_train_loader
from d2lite.data.samplers import TrainingSampler

# Scoring holds truth and results as Python objects, in each library; larger ones fill the memory.
MOST_SCORED = 1_000_000


class Records(Sequence):
    """Dataset dicts that are made as they are asked for."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self.size:
            raise IndexError(index)
        boxes = [[(index * 7 + i * 31) % 500 + 0.5, i * 40.0, 60.0, 80.0] for i in range(5)]
        objects = [{"bbox": box, "bbox_mode": 1, "category_id": i} for i, box in enumerate(boxes)]
        name = f"/data/images/{index:012d}.jpg"
        size = {"height": 480, "width": 640}
        return {"file_name": name, "image_id": index, **size, "annotations": objects}

    def __iter__(self) -> Iterator[dict]:
        return (self[i] for i in range(self.size))


def to_sample(record: dict) -> dict:
    """A sample without an image."""
    return {key: record[key] for key in ("image_id", "width", "height")} | {"image": torch.zeros(1)}


def private_mib(pid: int) -> float:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def start_loader(store: DatasetFromList, method: str) -> Iterator:
    """The batches of two workers."""
    loader = build_detection_train_loader(
        store,
        mapper=to_sample,
        sampler=TrainingSampler(len(store), seed=1),
        total_batch_size=8,
        num_workers=2,
        multiprocessing_context=method,
    )
    return iter(loader)


def hold(size: int, method: str) -> None:
    """Be one of several training processes: print when 200 batches were made, and wait."""
    start = time.perf_counter()
    batches = start_loader(DatasetFromList(Records(size)), method)
    for _ in range(200):
        next(batches)
    workers = [worker.pid for worker in torch.multiprocessing.active_children()]
    print(time.perf_counter() - start, os.getpid(), *workers, flush=True)
    sys.stdin.read()


def pss_mib(pid: int) -> float:
    """Memory of a process, where a page of n processes counts as 1 / n."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measure_shared(size: int) -> list[str]:
    """The cells of one row of --shared."""
    cells = [f"{size:,}"]
    for method in ("fork", "spawn"):
        command = [sys.executable, __file__, "--hold", str(size), method]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        held = [subprocess.Popen(command, **pipes) for _ in range(2)]
        lines = [process.stdout.readline().split() for process in held]
        memory = [[pss_mib(int(pid)) for pid in line[1:]] for line in lines]
        cells.append(f"{max(float(line[0]) for line in lines):.1f}")
        cells.append(f"{np.mean([one[0] for one in memory]):.0f}")
        cells.append(f"{np.mean([one[1:] for one in memory]):.0f}")
        cells.append(f"{np.sum(memory):.0f}")
        for process in held:
            process.communicate()
    return cells


def measure(size: int) -> list[str]:
    """The cells of one row."""
    start = time.perf_counter()
    store = DatasetFromList(Records(size))
    cells = [f"{size:,}", f"{1e6 * (time.perf_counter() - start) / size:.1f}"]
    cells.append(f"{store._items.nbytes / size:.0f}")
    for method in ("fork", "spawn"):
        start = time.perf_counter()
        batches = start_loader(store, method)
        next(batches)
        cells.append(f"{time.perf_counter() - start:.2f}")
        for _ in range(50):
            next(batches)
        workers = torch.multiprocessing.active_children()
        cells.append(f"{np.mean([private_mib(worker.pid) for worker in workers]):.0f}")
        start = time.perf_counter()
        for _ in range(200):
            next(batches)
        cells.append(f"{1e6 * (time.perf_counter() - start) / 1600:.0f}")
        del batches
    start = time.perf_counter()
    # The middle of the 1,000th epoch, as after a resume.
    walk = TrainingSampler(size, seed=1).order.walk(1000 * size + size // 2)
    next(walk)
    cells.append(f"{time.perf_counter() - start:.3f}")
    if size > MOST_SCORED:
        return [*cells, ""]
    (scoring,) = coco_sides(size, objects=5, with_pycocotools=False)
    scoring.step()
    return [*cells, f"{1e6 * scoring.step()['whole'] / size:.0f}"]


HEAD = [
    "images", "store, us an image", "bytes an image", "fork: first batch, s", "MiB a worker",
    "us a sample", "spawn: first batch, s", "MiB a worker", "us a sample", "resume the order, s",
    "score, us an image",
]  # fmt: skip
SHARED_HEAD = [
    "images", "fork: 200 batches, s", "MiB a trainer", "MiB a worker", "MiB all",
    "spawn: 200 batches, s", "MiB a trainer", "MiB a worker", "MiB all",
]  # fmt: skip


def main() -> None:
    """Print the table."""
    kind, *rest = sys.argv[1:]
    if kind == "--hold":
        hold(int(rest[0]), rest[1])
        return
    if kind == "--one":
        print(f"| {' | '.join(measure(int(rest[0])))} |")
        return
    is_shared = kind == "--shared"
    head = SHARED_HEAD if is_shared else HEAD
    print(f"| {' | '.join(head)} |\n|{' ---: |' * len(head)}", flush=True)
    for size in rest if is_shared else sys.argv[1:]:
        if is_shared:
            print(f"| {' | '.join(measure_shared(int(size)))} |", flush=True)
        else:
            subprocess.run([sys.executable, __file__, "--one", size], check=True)


if __name__ == "__main__":
    main()
