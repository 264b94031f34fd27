"""Parts of datasets and how often they are shown, by configuration."""

from collections import Counter
from itertools import islice

import pytest

from d2lite.config import get_cfg
from d2lite.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from d2lite.evaluation import build_evaluator
from d2lite.utils.errors import ConfigError, DataError
from tests.data import spec_files as make

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    names = [f"p{i}.jpg" for i in range(10)]
    make.coco(folder / "a.json", objects=[(i, 1 + i % 2) for i in range(10)], files=names)
    make.coco(folder / "n/b.json", objects=[(0, 1), (1, 2)], files=["x.jpg", "y.jpg"])
    for name in names:
        make.picture(folder / name)
    for name in "xy":
        make.picture(folder / f"n/{name}.jpg")
    return folder


def stems(name):
    return [record["file_name"].rpartition("/")[2] for record in DatasetCatalog.get(name)]


def test_a_fraction_is_drawn_by_seed_and_keeps_the_order(work):
    first = stems("coco:a.json?fraction=0.4")
    assert len(first) == 4
    assert first == sorted(first)
    assert first == stems("coco:a.json?fraction=0.4&seed=0")
    assert any(stems(f"coco:a.json?fraction=0.4&seed={s}") != first for s in (1, 2, 3))
    assert len(stems("coco:a.json?fraction=0.01")) == 1


def test_a_file_lists_images_by_path_name_or_stem(work):
    (work / "list.txt").write_text(f"p3\n\np1.jpg\n{work}/p7.jpg\nwork/p5.jpg\n")
    wanted = ["p1.jpg", "p3.jpg", "p5.jpg", "p7.jpg"]
    assert stems("coco:a.json?images=list.txt") == wanted
    half = stems("coco:a.json?images=list.txt&fraction=0.5")
    assert len(half) == 2
    assert set(half) < set(wanted)


def test_images_that_cannot_be_found_or_told_apart_are_named(work):
    (work / "list.txt").write_text("p3\nzebra\n")
    with pytest.raises(DataError, match=r"1 images which the dataset lacks, for instance zebra"):
        stems("coco:a.json?images=list.txt")
    (work / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="none of its 10 images"):
        stems("coco:a.json?images=list.txt")
    make.picture(work / "i/1/a.jpg")
    make.picture(work / "i/2/a.jpg")
    (work / "list.txt").write_text("a\n")
    with pytest.raises(DataError, match="which fit several"):
        stems("images:i?images=list.txt")
    (work / "list.txt").write_text("2/a.jpg\n")
    assert len(stems("images:i?images=list.txt")) == 1


@pytest.mark.parametrize("spec", ["coco:a.json?fraction=2", "coco:a.json?seed=1", "voc:v?images="])
def test_malformed_options_are_refused(spec):
    with pytest.raises(ConfigError, match="malformed"):
        DatasetCatalog.get(spec)


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_evaluation_looks_at_the_chosen_images_alone(work, kind):
    make.voc(work / "v", train={f"i{n}": ["cat"] for n in range(6)})
    name = {"voc": "voc:v", "coco": "coco:a.json"}[kind] + "?fraction=0.5"
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "coco"
    assert metadata.get("json_file") is None
    record = DatasetCatalog.get(name)[0]
    evaluator = build_evaluator(name, distributed=False)
    evaluator.reset()
    classes = [o["category_id"] for o in record["annotations"]]
    evaluator.process(*make.detections(record["image_id"], classes))
    assert 0 < evaluator.evaluate()["bbox"]["AP"] < 100


def shown(*, batches, **options):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("coco:a.json", "coco:n/b.json")
    cfg.SEED = 1
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (8,)
    cfg.DATALOADER.NUM_WORKERS = 0
    for key, value in options.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    loader = build_detection_train_loader(cfg)
    names = (s["file_name"] for batch in islice(loader, batches) for s in batch)
    return Counter(name.rpartition("/")[2] for name in names), loader


def test_sets_can_be_shown_more_and_less_often(work):
    counts, loader = shown(batches=18, DATASETS__TRAIN_REPEATS=(0.5, 2.0))
    assert loader.batches_per_epoch == 4.5
    assert {counts["x.jpg"], counts["y.jpg"]} == {8}
    assert {counts[f"p{i}.jpg"] for i in range(10)} == {2}


def test_repeats_multiply_the_factors_of_rare_classes(work):
    _, plain = shown(batches=0, DATALOADER__SAMPLER_TRAIN="RepeatFactorTrainingSampler",
                     DATALOADER__REPEAT_THRESHOLD=1.0)  # fmt: skip
    _, loader = shown(batches=0, DATALOADER__SAMPLER_TRAIN="RepeatFactorTrainingSampler",
                      DATALOADER__REPEAT_THRESHOLD=1.0, DATASETS__TRAIN_REPEATS=(3, 3))  # fmt: skip
    assert plain.batches_per_epoch > 6
    assert loader.batches_per_epoch == pytest.approx(3 * plain.batches_per_epoch)


@pytest.mark.parametrize("repeats", [(1.0,), (1.0, -1.0), (0.0, 0.0)])
def test_repeats_must_fit_the_sets(work, repeats):
    with pytest.raises(ConfigError, match=r"TRAIN_REPEATS .*one number for each"):
        shown(batches=0, DATASETS__TRAIN_REPEATS=repeats)


def test_a_sampler_that_knows_no_repeats_refuses_them(work):
    with pytest.raises(ConfigError, match=r"fraction=0\.1"):
        shown(batches=0, DATASETS__TRAIN_REPEATS=(1, 2),
              DATALOADER__SAMPLER_TRAIN="RandomSubsetTrainingSampler")  # fmt: skip
