"""What the tests of several projects do: short runs, gradients in passes, drawn results."""

import json
import re
from pathlib import Path

import torch

from d2lite.engine import DefaultTrainer, setup_cfg
from d2lite.engine.simple_trainer import SimpleTrainer
from d2lite.structures import Instances, pairwise_iou

# A few steps on small images, without a log of times.
SHORT_RUN = [
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "2",
    "SOLVER.WARMUP_ITERS", "0",
    "TEST.EVAL_PERIOD", "0",
]  # fmt: skip


def metrics(folder: Path) -> list[dict]:
    """The lines of metrics.json."""
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def table_values(text: str) -> list[str]:
    """The rows of numbers that print_csv_format writes."""
    return re.findall(r"copypaste: ([-\d.,na]+)$", text, flags=re.MULTILINE)


def both_forms(model, batch: list[dict]) -> tuple[list[Instances], dict[str, torch.Tensor]]:
    """The detections of each image, and those of the batch in the fixed-size form."""
    with torch.no_grad():
        images = model.preprocess_image(batch)
        padded = model.predict_padded(images.tensor, torch.tensor(images.image_sizes))
        return [result["instances"] for result in model.predict(batch)], padded


def train(recipe: str, options, folder: Path, num_iterations: int, *, resume: str = ""):
    """Train without an evaluation, and return the weights."""
    last = ["SOLVER.MAX_ITER", num_iterations, "OUTPUT_DIR", str(folder), "DATASETS.TEST", "()"]
    trainer = DefaultTrainer(setup_cfg(recipe, [*options, *last]))
    trainer.resume_or_load(resume=resume or False)
    trainer.train()
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def train_and_go_on(run, options, folder: Path, score: str) -> dict[str, torch.Tensor]:
    """By the tool: two steps, and another with an evaluation after a resume; the weights."""
    first = run("train_net", *options, "DATASETS.TEST", "()")
    assert first.status == 0, first.err
    resumed = run("train_net", "--resume", *options, "SOLVER.MAX_ITER", 3)
    assert resumed.status == 0, resumed.err
    assert "going on at iteration 2" in resumed.out
    assert 0 <= metrics(folder)[-1][score] <= 100
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def check_resume(recipe: str, options, folder: Path) -> None:
    """A run that goes on from the middle of another ends with its weights, bit for bit."""
    options = [*options, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.CHECKPOINT_EPOCHS", 0.0]
    torch.manual_seed(0)
    unbroken = train(recipe, options, folder / "unbroken", 4)
    torch.manual_seed(1)
    middle = str(folder / "unbroken/model_0000001.pth")
    resumed = train(recipe, options, folder / "resumed", 4, resume=middle)
    for name, value in unbroken.items():
        assert torch.equal(resumed[name], value), name


def gradients(model: torch.nn.Module, batch: list[dict], parts: int) -> dict[str, torch.Tensor]:
    """The gradients of one step that is made in so many passes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    batch = [{**item, "draw_key": number} for number, item in enumerate(batch)]
    trainer = SimpleTrainer(model, [batch], optimizer, accumulate_steps=parts)
    trainer.iter, trainer.max_iter = 0, 1
    trainer._log = lambda *args: None
    trainer.run_step()
    return {
        name: value.grad.clone() for name, value in model.named_parameters() if value.requires_grad
    }


def learn(model: torch.nn.Module, batch: list[dict], rate: float, steps: int) -> tuple[int, int]:
    """Train on one batch; how many of its objects are found then, and how many there are."""
    optimizer = torch.optim.AdamW(model.train().parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 35.0)
        optimizer.step()
    with torch.no_grad():
        results = model.eval()(batch)
    found = 0
    for item, result in zip(batch, results, strict=True):
        truth, ours = item["instances"], result["instances"]
        ious = pairwise_iou(truth.gt_boxes, ours.pred_boxes) * (ours.scores > 0.3)
        ious = ious * (truth.gt_classes[:, None] == ours.pred_classes)
        found += int((ious > 0.7).any(dim=1).sum())
    return found, sum(len(item["instances"]) for item in batch)


def check_drawing(run, folder: Path) -> set[str]:
    """The demo draws what a run has learnt; the names of the values of an object."""
    picture, found = folder / "found.png", folder / "found.json"
    drawn = run(
        "demo",
        *("--config-file", folder / "config.yaml", "--input", "shapes://val/3"),
        *("--output", picture, "--save-json", found, "--confidence-threshold", 0),
        *("--opts", "MODEL.WEIGHTS", folder / "model_final.pth"),
    )
    assert drawn.status == 0, drawn.err
    assert picture.is_file()
    return set(json.loads(found.read_text())[0])
