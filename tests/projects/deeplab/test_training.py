"""A whole run on the built-in shapes, by the tools alone."""

import json

# deeplab_v3_plus_shapes.yaml, small enough for steps of some 50 ms.
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.NORM", "BN",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "8",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "8",
    "MODEL.RESNETS.WIDTH_PER_GROUP", "4",
    "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64",
    "INPUT.MAX_SIZE_TEST", "96",
    "DATALOADER.NUM_WORKERS", "0",
    "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "3",
    "SOLVER.WARMUP_ITERS", "0",
]  # fmt: skip


def test_train_go_on_and_evaluate(run, tmp_path):
    """The tools find the project, its config, its schedule and its samples."""
    options = ["--config-file", "deeplab_v3_plus_shapes.yaml", *TINY, "OUTPUT_DIR", tmp_path]
    first = run("train_net", *options, "DATASETS.TEST", "()")
    assert first.status == 0, first.err
    resumed = run("train_net", "--resume", *options, "SOLVER.MAX_ITER", 5)
    assert resumed.status == 0, resumed.err
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    rates = {line["iteration"]: line["lr"] for line in lines if "lr" in line}
    assert rates[4] < rates[2]
    assert 0 <= lines[-1]["sem_seg/mIoU"] <= 100
