"""tools/analyze_model.py: the table, and what is refused."""

from .conftest import TINY


def test_every_module_has_its_line(run):
    ended = run("analyze_model", "--config-file", "quick_start.yaml", "--size", 64, 96, *TINY)
    assert ended.status == 0, ended.err
    head, columns, *rows = ended.out.splitlines()
    assert head == "GeneralizedRCNN on one image of 64 x 96 pixels"
    assert columns.split() == ["module", "parameters", "GFLOPs", "activations", "(million)"]
    names = [row.split("  ")[0] for row in rows]
    assert names[:2] == ["whole model", "backbone"]
    assert "roi_heads.mask_head" in names
    parameters = {
        name: int(row.split()[-3].replace(",", "")) for name, row in zip(names, rows, strict=True)
    }
    parts = ("backbone", "proposal_generator", "roi_heads")
    assert sum(parameters[name] for name in parts) == parameters["whole model"]


def test_heads_work_although_nothing_is_learnt(run):
    """With the usual threshold the mask head would cost nothing."""
    ended = run(
        "analyze_model", "--config-file", "quick_start.yaml", "--size", 64, 64, *TINY,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.9",
    )  # fmt: skip
    (mask_row,) = [row for row in ended.out.splitlines() if row.startswith("roi_heads.mask_head")]
    assert float(mask_row.split()[-1]) > 0


def test_heads_work_on_as_many_regions_as_the_config_allows(run):
    """Random weights under frozen norms made every box the whole image, and one was kept."""
    ended = run(
        "analyze_model", "--config-file", "quick_start.yaml", "--size", 64, 96, *TINY,
        "MODEL.RESNETS.NORM", "FrozenBN", "MODEL.ROI_BOX_HEAD.FC_DIM", 512,
        "MODEL.RPN.POST_NMS_TOPK_TEST", 80,
    )  # fmt: skip
    assert ended.status == 0, ended.err
    (row,) = [row for row in ended.out.splitlines() if row.startswith("roi_heads.box_head")]
    # 80 regions of 16 x 7 x 7 numbers through one layer of 512.
    assert float(row.split()[-2]) == round(80 * 16 * 7 * 7 * 512 / 1e9, 3)


def test_images_of_other_channels_are_analysed_too(run):
    ended = run(
        "analyze_model", "--config-file", "quick_start.yaml", "--size", 64, 64, *TINY,
        "MODEL.PIXEL_MEAN", "(100.0,)", "MODEL.PIXEL_STD", "(1.0,)",
    )  # fmt: skip
    assert ended.status == 0, ended.err


def test_weights_are_loaded_on_demand(run, trained):
    ended = run(
        "analyze_model", "--config-file", trained / "config.yaml", "--size", 64, 64, "--weights",
        "--depth", 0, "MODEL.WEIGHTS", trained / "model_final.pth",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1].startswith("whole model")
    missing = run(
        "analyze_model", "--config-file", trained / "config.yaml", "--size", 64, 64, "--weights",
        "MODEL.WEIGHTS", trained / "no_such.pth",
    )  # fmt: skip
    assert missing.status == 2
    assert "no_such.pth" in missing.err


def test_a_run_is_analyzed_by_its_folder(run, trained):
    ended = run("analyze_model", trained, "--size", 64, 64, "--depth", 0, "--weights")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1].startswith("whole model")


def test_impossible_sizes_and_depths_are_refused(run):
    ended = run("analyze_model", "--config-file", "quick_start.yaml", "--size", 0, 64, *TINY)
    assert ended.status == 2
    assert "give pixels above 0" in ended.err


def test_model_without_proposals_of_its_own_is_refused(run):
    ended = run("analyze_model", "--config-file", "fast_rcnn_R_50_FPN_1x.yaml")
    assert ended.status == 2
    assert "MODEL.PROPOSAL_GENERATOR.NAME RPN" in ended.err
