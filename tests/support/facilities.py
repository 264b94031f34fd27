"""What every model should be able to do, each tried on a small model of a kind.

A facility is a function of a `Trial` that returns nothing where it works, a text that says why it
does not apply, or raises a UserError, which refuses it.
"""

import asyncio
import copy
import io
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from d2lite.data import DatasetCatalog, MetadataCatalog
from d2lite.data.images.image_io import read_image
from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.engine.evaluating import augmented_model
from d2lite.modeling.compiling import compile_parts_
from d2lite.predicting import Predictor
from tests.projects.runs import check_resume, gradients, metrics, train

from .models import MODELS, Model

PHOTO = "shapes://val/3"


@dataclass
class Trial:
    """A model, the dataset string of some drawings, an empty folder, and a device."""

    model: Model
    string: str
    folder: Path
    device: str = "cpu"

    def options(self, *more: object) -> list[object]:
        """The model's options and more."""
        return [*self.model.options, "MODEL.DEVICE", self.device, *_SHORT, *more]

    @cached_property
    def run(self) -> Path:
        """The folder of a training of two steps on the string, with an evaluation at its end."""
        folder = self.folder / "run"
        sets = _few_for_evaluation(setup_cfg(self.model.recipe, self.options()).DATASETS.TEST)
        more = ["DATASETS.TEST", sets, "OUTPUT_DIR", str(folder), "SOLVER.MAX_ITER", 2]
        # Other tests switch it off.
        more += ["REPORT.ENABLED", True]
        if self.model.learns == "instances":
            more += ["DATASETS.TRAIN", (self.string,)]
        trainer = DefaultTrainer(setup_cfg(self.model.recipe, self.options(*more)))
        trainer.resume_or_load(resume=False)
        trainer.train()
        return folder

    @cached_property
    def predictor(self) -> Predictor:
        """The trained model; everything that it finds is shown."""
        return Predictor(self.run / "model_final.pth", device=self.device, threshold=0.0)


_SHORT = [
    *("DATALOADER.NUM_WORKERS", 0, "SEED", 1),
    *("SOLVER.CHECKPOINT_EPOCHS", 0.0, "TEST.EVAL_PERIOD", 0, "TEST.EVAL_EPOCHS", 0.0),
]


def _few_for_evaluation(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first four images of each set, as sets of their own, since scoring takes long."""
    few = []
    for name in names:
        few.append(f"{name}_first_four")
        if few[-1] not in DatasetCatalog:
            DatasetCatalog.register(few[-1], lambda name=name: DatasetCatalog.get(name)[:4])
            DatasetCatalog.get(name)
            facts = MetadataCatalog.get(name).as_dict()
            MetadataCatalog.get(few[-1]).set(**{k: v for k, v in facts.items() if k != "name"})
    return tuple(few)


def learns_from_a_string(trial: Trial) -> str | None:
    stored = torch.load(trial.run / "model_final.pth", weights_only=True)["d2lite"]
    if trial.model.learns != "instances":
        return "maps of classes have no string"
    assert stored["class_names"] == MetadataCatalog.get(trial.string).thing_classes
    return None


def resumes_bit_for_bit(trial: Trial) -> None:
    check_resume(trial.model.recipe, trial.options(), trial.folder / "resume")


def _without_draws_of_a_pass(model: nn.Module, batch: list[dict[str, Any]]) -> nn.Module:
    """Batch norm with the statistics of the whole batch, and no dropout: both are of each pass."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()([{**item, "draw_key": number} for number, item in enumerate(batch)])
    for norm in norms:
        norm.eval()
        # The trainer would switch it back.
        norm.train = lambda mode=True: None
    return model


def accumulates_to_the_gradients_of_one_pass(trial: Trial) -> str | None:
    more = ["SOLVER.IMS_PER_BATCH", 4, "OUTPUT_DIR", str(trial.folder / "passes")]
    cfg = setup_cfg(trial.model.recipe, trial.options(*more))
    head = cfg.MODEL.SEM_SEG_HEAD
    mines_pixels = "DeepLab" in head.NAME and head.LOSS_TYPE == "hard_pixel_mining"
    if mines_pixels:
        head.LOSS_TYPE = "cross_entropy"
    # Of one size: what a network sees of the padding differs with the images beside.
    alike: dict[tuple[int, ...], list[dict[str, Any]]] = defaultdict(list)
    for item in itertools.chain.from_iterable(DefaultTrainer.build_train_loader(cfg)):
        batch = alike[item["image"].shape]
        batch.append(item)
        if len(batch) == 4:
            break
    torch.manual_seed(0)
    model = _without_draws_of_a_pass(DefaultTrainer.build_model(cfg), batch)
    found = [gradients(copy.deepcopy(model), batch, parts) for parts in (1, 2)]
    for name, value in found[0].items():
        scale = value.abs().max().clamp(min=1e-2)
        assert (found[1][name] - value).abs().max() < 5e-3 * scale, name
    return "up to the choice of hard pixels, made in each pass" if mines_pixels else None


def averages_its_weights(trial: Trial) -> None:
    more = ["MODEL_EMA.ENABLED", True, "MODEL_EMA.WARMUP", False, "MODEL_EMA.DECAY", 0.5]
    folder = trial.folder / "averaged"
    averaged = train(trial.model.recipe, trial.options(*more), folder, 2)
    stored = torch.load(folder / "model_final.pth", weights_only=True)
    assert "trainer" in stored
    assert all(value.isfinite().all() for value in averaged.values() if value.is_floating_point())


def trains_in_bfloat16(trial: Trial) -> None:
    more = ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"]
    weights = train(trial.model.recipe, trial.options(*more), trial.folder / "amp", 2)
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


def trains_in_two_processes(trial: Trial) -> None:
    folder = trial.folder / "two"
    # With gloo: a machine may have one GPU.
    more = ["DATASETS.TEST", "()", "OUTPUT_DIR", folder, "SOLVER.MAX_ITER", 2]
    more += ["MODEL.DEVICE", "cpu"]
    words = ["train", "--num-gpus", 2, "--config-file", trial.model.recipe, *trial.options(*more)]
    command = [sys.executable, "-m", "d2lite", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "model_final.pth").is_file()


def is_evaluated(trial: Trial) -> None:
    last = metrics(trial.run)[-1]
    scores = [name for name in last if name.endswith(("/AP", "/mIoU", "/PQ", "/AR@100"))]
    assert scores, list(last)


def has_a_report(trial: Trial) -> None:
    page = (trial.run / "report.html").read_text(encoding="utf-8")
    assert trial.run.name in page


def is_evaluated_from_several_views(trial: Trial) -> None:
    cfg = setup_cfg(trial.model.recipe, trial.options("TEST.AUG.MIN_SIZES", (48, 64)))
    model = DefaultTrainer.build_model(cfg).eval()
    several = augmented_model(cfg, model)
    image = torch.as_tensor(read_image(PHOTO, "BGR").transpose(2, 0, 1).copy())
    with torch.no_grad():
        found = several([{"image": image, "height": 96, "width": 120}])
    assert found[0]["instances"].image_size == (96, 120)


def predicts_and_draws(trial: Trial) -> None:
    result = trial.predictor(PHOTO)
    result.plot(str(trial.folder / "found.png"))
    assert (trial.folder / "found.png").is_file()
    given = {"name", "score", "box"}
    assert all(given <= one.keys() for one in result.to_dict()["objects"])


def predicts_in_tiles(trial: Trial) -> None:
    whole = read_image(PHOTO, "RGB")
    found = trial.predictor(whole, tiles=max(whole.shape) * 2 // 3)
    assert found.size == whole.shape[:2]


def is_served(trial: Trial) -> None:
    from d2lite.serving import ModelQueue  # an extra

    stream = io.BytesIO()
    Image.fromarray(read_image(PHOTO, "RGB")).save(stream, "PNG")
    queue = ModelQueue(trial.predictor)
    try:
        answer = asyncio.run(
            queue.predict(stream.getvalue(), lambda r: json.dumps(r.to_dict()).encode())
        )
    finally:
        queue.close()
    assert json.loads(answer)["width"] > 0


# Half a minute each; of the others the graphs are captured and run as they are, in some seconds.
_WITH_BACKWARD_GRAPHS = ("Faster R-CNN", "RetinaNet", "SOLOv2", "RT-DETR")


def is_compiled(trial: Trial) -> None:
    """Without code generation, which takes minutes; losses and the gradient stay the same."""
    with_backward = any(MODELS[name] is trial.model for name in _WITH_BACKWARD_GRAPHS)
    cfg = setup_cfg(trial.model.recipe, trial.options("SOLVER.IMS_PER_BATCH", 2))
    batch = next(iter(DefaultTrainer.build_train_loader(cfg)))
    torch.manual_seed(0)
    model = DefaultTrainer.build_model(cfg)
    compiled = copy.deepcopy(model)
    compile_parts_(compiled, backend="aot_eager" if with_backward else "eager")
    assert list(compiled.state_dict()) == list(model.state_dict())
    both = []
    for one in (model, compiled):
        torch.manual_seed(1)  # of dropout
        both.append(gradients(one, batch, 1))
    wanted, found = both
    for name, value in wanted.items():
        scale = value.abs().max().clamp(min=1e-2)
        assert (found[name] - value).abs().max() < 5e-3 * scale, name
    image = torch.as_tensor(read_image(PHOTO, "BGR").transpose(2, 0, 1).copy())
    with torch.inference_mode():
        compiled.eval()([{"image": image, "height": 96, "width": 120}])
    assert not copy.deepcopy(compiled).backbone._compiled_call_impl


FACILITIES: dict[str, Callable[[Trial], str | None]] = {
    "own data by a string": learns_from_a_string,
    "evaluation": is_evaluated,
    "report": has_a_report,
    "resume, bit for bit": resumes_bit_for_bit,
    "accumulation": accumulates_to_the_gradients_of_one_pass,
    "averaged weights": averages_its_weights,
    "bfloat16": trains_in_bfloat16,
    "compile": is_compiled,
    "two processes": trains_in_two_processes,
    "several views": is_evaluated_from_several_views,
    "predict": predicts_and_draws,
    "tiles": predicts_in_tiles,
    "serve": is_served,
}
