"""What the processes of the distributed tests run; a module, so that it can be spawned."""

import math
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from d2lite.config import CfgNode, get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.engine import DefaultTrainer, SimpleTrainer, create_ddp_model, setup_cfg
from d2lite.modeling import META_ARCH_REGISTRY
from d2lite.solver.gradient_clipping import GradientClipType, _create_gradient_clipper
from d2lite.utils import comm
from d2lite.utils.env import seed_all_rng
from d2lite.utils.process_means import mean_over_processes, mean_weight, sharing_means

from ..tools.conftest import TINY
from .conftest import CLASSES, make_records
from .toys import LineModel, PointStream, ToyDetector, make_sgd

STEPS = 3

# Name -> options of a run of `StackDetector`; each is made in one process and in two.
SHARDED = ("SOLVER.FSDP.ENABLED", "True", "SOLVER.FSDP.MIN_PARAMS", "20")
ADAM = ("SOLVER.OPTIMIZER", "AdamW", "SOLVER.WEIGHT_DECAY", "0.02")
CLIPPED = (
    "SOLVER.CLIP_GRADIENTS.ENABLED", "True",
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.5",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
)  # fmt: skip
RUNS: dict[str, tuple[str, ...]] = {
    "plain": ("SOLVER.MAX_ITER", "50"),
    "sharded": ("SOLVER.ACCUMULATE_STEPS", "2", *ADAM, *SHARDED, *CLIPPED, "full_model"),
    "sharded_average": ("MODEL_EMA.ENABLED", "True", *SHARDED, *CLIPPED, "norm"),
}


@META_ARCH_REGISTRY.register()
class StackDetector(ToyDetector):
    """A toy detector without draws and batch statistics, with blocks that can be sharded."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(cfg)
        self.norm = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 3))
        self.dropout = nn.Identity()


class RankStream(PointStream):
    """This process's slice of each batch."""

    def __iter__(self) -> Iterator[list[dict]]:
        share = self.batch_size // comm.get_world_size()
        first = comm.get_rank() * share
        for batch in super().__iter__():
            yield batch[first : first + share]


def register_sets(folder: Path) -> None:
    """12 images: 8 to train on, 3 to evaluate on, and a set of the one that is left."""
    file = folder / "records.pickle"
    if not file.exists():  # the first to call is one process
        file.write_bytes(pickle.dumps(make_records(folder, 12)))
    records = pickle.loads(file.read_bytes())
    parts = {"job_train": records[:8], "job_val": records[8:11], "job_one": records[11:]}
    for name, part in parts.items():
        if name not in DatasetCatalog:
            DatasetCatalog.register(name, lambda part=part: part)
            MetadataCatalog.get(name).set(evaluator_type="coco", thing_classes=CLASSES)


def forget_sets() -> None:
    for name in ("job_train", "job_val", "job_one"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def make_cfg(folder: Path, options: Sequence[str]) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = StackDetector.__name__
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = False
    cfg.DATASETS.TRAIN = ("job_train",)
    cfg.DATASETS.TEST = ("job_val", "job_one")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.INPUT.MIN_SIZE_TRAIN = (24, 32)
    cfg.INPUT.MIN_SIZE_TEST = 32
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.SOLVER.BASE_LR = 0.02
    cfg.SOLVER.WARMUP_ITERS = 2
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.MAX_ITER = 8
    cfg.SOLVER.CHECKPOINT_PERIOD = 4
    cfg.SEED = 5
    cfg.OUTPUT_DIR = str(folder)
    cfg.merge_from_list(list(options))
    return cfg


def train(
    images: Path, out: Path, options: Sequence[str], *, resume: bool | str = False
) -> DefaultTrainer:
    """Train and keep every step's losses beside the checkpoints."""
    register_sets(images)
    cfg = make_cfg(out, options)
    seed_all_rng(cfg.SEED)  # as default_setup does in the tools
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    results = trainer.train()
    if comm.is_main_process():
        history = trainer.storage.history("total_loss").values()
        facts = {"losses": [float(loss) for loss, _ in history], "results": results}
        torch.save(facts, out / "facts.pth")
    return trainer


def run_all(folder: Path) -> None:
    """Everything that the tests of two processes look at, since starting processes takes long."""
    size = comm.get_world_size()
    train_points(folder)
    if size > 1:
        torch.save(talk_of_means(), folder / f"means{comm.get_rank()}.pth")
        torch.save(clip_in_parts(), folder / f"clipped{comm.get_rank()}.pth")
    for name, options in RUNS.items():
        out = folder / f"{name}{size}"
        out.mkdir(exist_ok=True)
        trainer = train(folder, out, options)
        sizes = [p.numel() for p in _local_parts(trainer.model)]
        torch.save(sizes, out / f"sizes{comm.get_rank()}.pth")
    if size > 1:
        for name in ("sharded", "sharded_average"):
            out = folder / f"{name}_resumed"
            out.mkdir(exist_ok=True)
            checkpoint = folder / f"{name}{size}" / "model_0000003.pth"
            train(folder, out, RUNS[name], resume=str(checkpoint))


def _local_parts(model: nn.Module) -> Iterator[torch.Tensor]:
    for parameter in model.parameters():
        yield parameter.to_local() if hasattr(parameter, "to_local") else parameter


def talk_of_means() -> dict[str, Any]:
    """Rank 0 has the mean of 1 thing, rank 1 that of 3; outside, each is on its own."""
    count = torch.tensor(1 + 2 * comm.get_rank())
    like = torch.zeros(())
    with sharing_means():
        inside = float(mean_weight(count, like)), float(mean_over_processes(count))
        nothing = float(mean_weight(0, like))
    return {"inside": inside, "nothing": nothing, "outside": mean_weight(count, like)}


def clip_in_parts() -> dict[str, tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """Gradients clipped whole, and as parts in two processes, of which one may have nothing."""
    mesh = init_device_mesh("cpu", (2,))
    clipped = {}
    for kind in GradientClipType:
        for norm_type in (1.0, 2.0, math.inf):
            dice = torch.Generator().manual_seed(0)
            whole = [torch.randn(*size, generator=dice) for size in ((7, 3), (5,), (1,))]
            parts = [distribute_tensor(grad.clone(), mesh, [Shard(0)]) for grad in whole]
            node = get_cfg().SOLVER.CLIP_GRADIENTS
            node.CLIP_TYPE, node.CLIP_VALUE, node.NORM_TYPE = kind.value, 0.5, norm_type
            for grads in (whole, parts):
                parameters = [nn.Parameter(torch.zeros_like(grad)) for grad in grads]
                for parameter, grad in zip(parameters, grads, strict=True):
                    parameter.grad = grad
                _create_gradient_clipper(node)(parameters)
            clipped[f"{kind.value} {norm_type}"] = whole, [part.full_tensor() for part in parts]
    return clipped


def train_points(folder: Path) -> None:
    """Train with accumulation and save weights and losses from the main process."""
    model = create_ddp_model(LineModel(), broadcast_buffers=False)
    trainer = SimpleTrainer(model, RankStream(8), make_sgd(model), accumulate_steps=2)
    trainer.train(0, STEPS)
    if comm.is_main_process():
        losses = trainer.storage.history("total_loss").values()
        weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
        content = {"weights": weights, "losses": [float(loss) for loss, _ in losses]}
        torch.save(content, folder / f"points{comm.get_world_size()}.pth")


def train_mask_rcnn(folder: Path) -> None:
    """50 steps of a whole Mask R-CNN on images of several sizes."""
    out = folder / f"mask_rcnn{comm.get_world_size()}"
    options = dict(zip(TINY[::2], TINY[1::2], strict=True))
    # No statistics of a process's own images.
    options |= {key: "FrozenBN" for key, value in options.items() if value == "BN"}
    options |= {
        "SOLVER.IMS_PER_BATCH": "4",
        "SOLVER.MAX_ITER": "50",
        "DATASETS.TEST": "()",
        "OUTPUT_DIR": str(out),
    }
    cfg = setup_cfg("quick_start.yaml", [word for pair in options.items() for word in pair])
    seed_all_rng(cfg.SEED)
    DefaultTrainer(cfg).train()
