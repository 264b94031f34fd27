import logging
import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from d2lite.config import check_numbers, get_cfg
from d2lite.engine import (
    DefaultTrainer,
    default_argument_parser,
    default_setup,
    default_writers,
    import_user_code,
    run_tool,
    setup_cfg,
)
from d2lite.engine.defaults.setup import _try_get_key, prepare_output_dir, write_config
from d2lite.engine.derived_config import ClassKey
from d2lite.engine.derived_config.scaling import auto_scale_workers
from d2lite.evaluation import DatasetEvaluators
from d2lite.utils.errors import ConfigError, MissingFileError, OutputError, UserError
from d2lite.utils.logger import setup_logger


@pytest.fixture
def _clean_imports(monkeypatch):
    """User code stays in sys.modules and its folder in sys.path; a test must not leave them."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("d2lite_test_", "d2lite_user_")):
            del sys.modules[name]


class TestArguments:
    def test_options_of_the_reference_are_there_with_their_defaults(self):
        args = default_argument_parser().parse_args([])
        assert (args.config_file, args.resume, args.eval_only) == ("", False, False)
        assert (args.num_gpus, args.num_machines, args.machine_rank) == (1, 1, 0)
        assert args.opts == []

    def test_trailing_words_are_options(self):
        words = ["--config-file", "a.yaml", "--import", "x.py", "--import", "y.py", "SEED", "3"]
        args = default_argument_parser().parse_args(words)
        assert args.imports == ["x.py", "y.py"]
        assert args.opts == ["SEED", "3"]

    @pytest.mark.parametrize(
        "words",
        [
            "--resume --num-gpus 2 SEED 3 AMP.ENABLED True",
            "SEED 3 AMP.ENABLED True --resume --num-gpus=2",
            "SEED 3 --resume AMP.ENABLED True --num-gpus 2",
            "--num-gpus 2 --resume SEED 3 AMP.ENABLED True",
        ],
    )
    def test_options_are_taken_wherever_they_are(self, words):
        args = default_argument_parser().parse_args(words.split())
        assert (args.resume, args.num_gpus) == (True, 2)
        assert args.opts == ["SEED", "3", "AMP.ENABLED", "True"]

    def test_help_shows_examples_or_the_given_text(self):
        assert "--eval-only MODEL.WEIGHTS" in default_argument_parser().format_help()
        assert "my own text" in default_argument_parser("my own text").format_help()


@pytest.mark.usefixtures("_clean_imports")
class TestSetupCfg:
    def test_command_line_wins_over_the_file_and_the_file_over_the_defaults(self, tmp_path):
        path = tmp_path / "recipe.yaml"
        path.write_text("SOLVER: {BASE_LR: 0.5, MAX_ITER: 7}\n")
        cfg = setup_cfg(str(path), ["--", "SOLVER.BASE_LR", "0.25"])
        assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (0.25, 7)
        assert cfg.origin("SOLVER.BASE_LR") == "command line"

    def test_users_file_can_add_keys_that_the_config_then_uses(self, tmp_path):
        code = tmp_path / "d2lite_test_added_keys.py"
        code.write_text("def add_config(cfg):\n    cfg.MODEL.MY_WIDTH = 8\n")
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text("MODEL: {MY_WIDTH: 16}\n")
        assert setup_cfg(str(recipe), imports=[str(code)]).MODEL.MY_WIDTH == 16


@pytest.mark.usefixtures("_clean_imports")
class TestUserCode:
    def test_file_is_imported_once_and_sees_its_neighbours(self, tmp_path):
        (tmp_path / "d2lite_test_neighbour.py").write_text("WIDTH = 5\n")
        path = tmp_path / "d2lite_test_backbone.py"
        path.write_text("from d2lite_test_neighbour import WIDTH\n")
        module = import_user_code(str(path))
        assert module.WIDTH == 5
        assert import_user_code(str(path)) is module
        # Loader workers that are spawned find a class by its module's name.
        assert sys.modules["d2lite_test_backbone"] is module

    def test_file_named_like_a_library_does_not_take_its_place(self, tmp_path):
        path = tmp_path / "json.py"
        path.write_text("MINE = True\n")
        assert import_user_code(str(path)).MINE
        assert not hasattr(sys.modules["json"], "MINE")

    def test_module_can_be_given_by_name(self):
        assert import_user_code("d2lite.engine").DefaultTrainer

    def test_missing_file_is_named(self):
        with pytest.raises(MissingFileError, match=r"nowhere/mine\.py: there is no such file"):
            import_user_code("nowhere/mine.py")

    def test_missing_module_is_named_with_the_file_it_could_be(self):
        with pytest.raises(ConfigError, match=r"--import no_such\.thing.*no_such/thing\.py"):
            import_user_code("no_such.thing")

    def test_mistake_inside_the_users_code_keeps_its_own_message(self, tmp_path):
        path = tmp_path / "d2lite_test_broken.py"
        path.write_text("import no_such_library_at_all\n")
        with pytest.raises(ModuleNotFoundError, match="no_such_library_at_all"):
            import_user_code(str(path))
        assert "d2lite_test_broken" not in sys.modules

    def test_file_that_is_not_python_is_named_with_the_line(self, tmp_path):
        path = tmp_path / "d2lite_test_torn.py"
        path.write_text("x = 1\ny = (\n")
        with pytest.raises(ConfigError, match=r"_torn\.py, line 2 is not Python: .*never closed"):
            import_user_code(str(path))


class TestDefaultSetup:
    def test_evaluation_leaves_the_record_of_the_training_alone(self, toy_cfg):
        default_setup(toy_cfg, SimpleNamespace(eval_only=False))
        path = Path(toy_cfg.OUTPUT_DIR) / "config.yaml"
        before = path.read_text()
        toy_cfg.MODEL.WEIGHTS = "other.pth"
        default_setup(toy_cfg, SimpleNamespace(eval_only=True))
        assert path.read_text() == before

    def test_console_has_a_line_on_options_and_the_log_file_all_of_them(self, toy_cfg, capsys):
        toy_cfg.merge_from_list(["SOLVER.BASE_LR", 0.125])
        default_setup(toy_cfg, None)
        shown = capsys.readouterr().out
        assert "1 of the command line" in shown
        assert "BASE_LR" not in shown
        assert "pycocotools" not in shown
        written = (Path(toy_cfg.OUTPUT_DIR) / "log.txt").read_text()
        assert re.search(r"BASE_LR: 0.125 +# command line", written)
        assert "pycocotools" in written

    def test_seed_makes_the_draws_repeat(self, toy_cfg):
        drawn = []
        for _ in range(2):
            default_setup(toy_cfg, None)
            drawn.append(torch.rand(3))
        assert torch.equal(*drawn)

    def test_device_that_nobody_set_is_not_written_down(self, tmp_path):
        """The file has to work on machines with another device."""
        cfg = get_cfg()
        cfg.OUTPUT_DIR = str(tmp_path)
        write_config(cfg)
        assert "DEVICE" not in yaml.safe_load((tmp_path / "config.yaml").read_text())["MODEL"]
        cfg.MODEL.DEVICE = "cpu"
        write_config(cfg)
        assert yaml.safe_load((tmp_path / "config.yaml").read_text())["MODEL"]["DEVICE"] == "cpu"
        again = get_cfg()
        again.merge_from_file(tmp_path / "config.yaml")
        assert again == cfg

    def test_unknown_float32_precision_is_refused(self, toy_cfg):
        toy_cfg.FLOAT32_PRECISION = "low"
        with pytest.raises(ConfigError, match="FLOAT32_PRECISION='low'"):
            default_setup(toy_cfg, None)

    def test_a_fixed_order_of_additions_is_a_key(self, toy_cfg, monkeypatch):
        """One that an operator lacks is a warning of torch, not the end of the run."""
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
        toy_cfg.DETERMINISTIC = toy_cfg.CUDNN_BENCHMARK = True
        try:
            default_setup(toy_cfg, None)
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
            assert not torch.backends.cudnn.benchmark
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        finally:
            torch.use_deterministic_algorithms(False)

    @pytest.mark.parametrize(
        ("key", "value", "limit"),
        [
            ("SOLVER.CHECKPOINT_PERIOD", 0, "1 or more"),
            ("SOLVER.IMS_PER_BATCH", 2**64, "1048576 or less"),
            ("SOLVER.BASE_LR", -0.5, "0 or more"),
            ("DATALOADER.PREFETCH", 0, "1 or more"),
            ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 0, "1 or more"),
            ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 0, "1 or more"),
            ("MODEL.ROI_HEADS.POSITIVE_FRACTION", 5.0, "1 or less"),
            ("DATALOADER.NUM_WORKERS", -1, "0 or more"),
            ("DATALOADER.NUM_WORKERS", 10**6, "1024 or less"),
            ("SEED", 2**80, f"{2**63 - 1} or less"),
            ("INPUT.MIN_SIZE_TEST", -5, "0 or more"),
            ("SOLVER.GAMMA", -1.0, "0 or more"),
            ("SOLVER.CHECKPOINT_MAX_TO_KEEP", -1, "0 or more"),
            ("TEST.IMS_PER_BATCH", 0, "1 or more"),
        ],
    )
    def test_a_number_out_of_its_range_is_refused_by_the_name_of_its_key(
        self, toy_cfg, key, value, limit
    ):
        toy_cfg.merge_from_list([key, value])
        for begin in (lambda: default_setup(toy_cfg, None), lambda: DefaultTrainer(toy_cfg)):
            with pytest.raises(ConfigError, match=f"{key} is {value}; it must be {limit}"):
                begin()

    def test_two_sides_and_a_missing_number_are_no_numbers_out_of_range(self, toy_cfg):
        toy_cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = (14, 14)
        toy_cfg.SEED = None
        check_numbers(toy_cfg)

    def test_numbers_of_lists_have_ranges_and_none_is_nan(self, toy_cfg):
        toy_cfg.INPUT.MIN_SIZE_TRAIN = (32, -5)
        with pytest.raises(
            ConfigError, match=r"MIN_SIZE_TRAIN is \(32, -5\); it must be 0 or more"
        ):
            check_numbers(toy_cfg)
        toy_cfg.INPUT.MIN_SIZE_TRAIN = (32, "a")
        with pytest.raises(ConfigError, match=r"MIN_SIZE_TRAIN has the text 'a'; it must have num"):
            check_numbers(toy_cfg)
        toy_cfg.INPUT.MIN_SIZE_TRAIN = (32, 0)
        for key, value in (("MODEL.PIXEL_MEAN", [1.0, float("nan")]), ("SOLVER.GAMMA", math.nan)):
            broken = toy_cfg.clone()
            broken.merge_from_list([key, value])
            with pytest.raises(ConfigError, match=rf"{key} is .*nan.*; nan is not a number"):
                check_numbers(broken)

    def test_text_in_place_of_a_number_is_refused_by_the_name_of_its_key(self, toy_cfg):
        """Code that fills a config from a form sets texts, which merging would have read."""
        toy_cfg.SOLVER.BASE_LR = "0.001"
        with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR is the text '0\.001'"):
            DefaultTrainer(toy_cfg)

    def test_folder_without_the_right_to_write_is_named(self, tmp_path):
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="OUTPUT_DIR"):
            prepare_output_dir(str(tmp_path))

    def test_an_address_is_refused_as_a_folder(self):
        with pytest.raises(OutputError, match="is an address"):
            prepare_output_dir("s3://bucket/out")

    def test_a_folder_in_place_of_the_note_of_the_last_checkpoint_is_refused(self, tmp_path):
        (tmp_path / "last_checkpoint").mkdir()
        with pytest.raises(OutputError, match="last_checkpoint is a folder and not the file"):
            prepare_output_dir(str(tmp_path))

    def test_three_writers_by_default(self, tmp_path):
        writers = default_writers(str(tmp_path), 10)
        names = [type(writer).__name__ for writer in writers]
        assert names == ["CommonMetricPrinter", "JSONWriter", "TensorboardXWriter"]
        for writer in writers:
            writer.close()


class TestRunTool:
    def leave(self, main) -> int:
        with pytest.raises(SystemExit) as left:
            run_tool(main)
        return left.value.code

    def test_status_is_that_of_the_tool(self):
        assert self.leave(lambda: None) == 0
        assert self.leave(lambda: 3) == 3

    def test_mistake_of_the_user_is_one_message_and_status_2(self, capsys, tmp_path):
        setup_logger(tmp_path, name="d2lite")

        def main() -> None:
            raise ConfigError("SOLVER.X is unknown; use SOLVER.Y")

        assert self.leave(main) == 2
        shown = capsys.readouterr()
        assert shown.err == "error: SOLVER.X is unknown; use SOLVER.Y\n"
        assert "Traceback" not in shown.out
        assert "Traceback" in (tmp_path / "log.txt").read_text()

    def test_fault_of_ours_keeps_its_trace(self, tmp_path):
        setup_logger(tmp_path, name="d2lite")

        def main() -> None:
            raise ZeroDivisionError("ours")

        with pytest.raises(ZeroDivisionError, match="ours"):
            run_tool(main)
        assert (tmp_path / "log.txt").read_text().count("Traceback") == 1

    def test_interruption_has_the_status_that_shells_know(self, capsys):
        def main() -> None:
            raise KeyboardInterrupt

        assert self.leave(main) == 130
        assert "Interrupted" in capsys.readouterr().err


class TestScaling:
    def scaled(self, workers: int, **options):
        cfg = get_cfg()
        cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
        cfg.SOLVER.STEPS = (30000, 36000)
        for key, value in options.items():
            cfg.SOLVER[key] = value
        return cfg, auto_scale_workers(cfg, workers)

    def test_linear_rule(self):
        """Twice the processes: twice the batch and rate, half of everything counted in steps."""
        _, cfg = self.scaled(16)
        solver = cfg.SOLVER
        assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (32, 0.002)
        assert (solver.MAX_ITER, solver.WARMUP_ITERS, solver.STEPS) == (20000, 500, (15000, 18000))
        assert solver.CHECKPOINT_PERIOD == 2500
        assert solver.REFERENCE_WORLD_SIZE == 16
        assert cfg.TEST.EVAL_PERIOD == 0
        assert cfg.origin("SOLVER.BASE_LR").startswith("derived")

    def test_recipe_that_was_given_is_left_alone(self):
        before, after = self.scaled(2)
        assert before.SOLVER.IMS_PER_BATCH == 16
        assert after.SOLVER.IMS_PER_BATCH == 4

    def test_nothing_changes_without_a_reference_or_at_it(self):
        cfg, same = self.scaled(8)
        assert same is cfg
        assert auto_scale_workers(get_cfg(), 4).SOLVER.IMS_PER_BATCH == 16

    def test_period_never_becomes_never(self):
        _, cfg = self.scaled(64, CHECKPOINT_PERIOD=3)
        assert cfg.SOLVER.CHECKPOINT_PERIOD == 1

    def test_batch_that_does_not_divide_is_refused(self):
        with pytest.raises(ConfigError, match=r"IMS_PER_BATCH=12 .*REFERENCE_WORLD_SIZE=8"):
            self.scaled(16, IMS_PER_BATCH=12)


class TestClasses:
    @pytest.mark.parametrize(
        ("architecture", "key"),
        [
            ("GeneralizedRCNN", "MODEL.ROI_HEADS.NUM_CLASSES"),
            ("PanopticFPN", "MODEL.ROI_HEADS.NUM_CLASSES"),
            ("RetinaNet", "MODEL.RETINANET.NUM_CLASSES"),
            ("ProposalNetwork", None),
            ("SomebodysOwn", None),
        ],
    )
    def test_key_is_that_of_the_architecture(self, architecture, key):
        cfg = get_cfg()
        cfg.MODEL.META_ARCHITECTURE = architecture
        assert ClassKey.of(cfg).key == key

    def test_number_follows_unless_somebody_set_it(self):
        cfg = get_cfg()
        cfg.freeze()
        ClassKey.of(cfg).follow(["a", "b"], "some data")
        assert ClassKey.of(cfg).count == 2
        assert cfg.origin("MODEL.ROI_HEADS.NUM_CLASSES") == "derived: the classes of some data"
        ClassKey.of(cfg).follow(["a", "b", "c"], "other data")
        assert ClassKey.of(cfg).count == 3

        mine = get_cfg()
        mine.MODEL.ROI_HEADS.NUM_CLASSES = 80
        ClassKey.of(mine).follow(["a", "b"], "some data")
        assert ClassKey.of(mine).count == 80


def test_mistakes_of_users_are_user_errors():
    """run_tool knows them by this type."""
    assert issubclass(ConfigError, UserError)
    assert issubclass(OutputError, UserError)


@pytest.fixture(autouse=True)
def _close_log_files():
    """A log file in a folder of one test must not catch the messages of the next."""
    yield
    for name in ("d2lite", "fvcore"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True


@pytest.mark.parametrize(
    ("architecture", "dataset", "key"),
    [
        ("SemanticSegmentor", "shapes_val_panoptic", "panoptic_seg"),
        ("SemanticSegmentor", "shapes_val", "instances"),
        ("GeneralizedRCNN", "shapes_val_panoptic", "panoptic_seg"),
        ("GeneralizedRCNN", "shapes_val_sem_seg", "sem_seg"),
    ],
)
def test_evaluation_by_what_the_model_does_not_give_is_refused_before_the_training(
    tmp_path, architecture, dataset, key
):
    cfg = setup_cfg("quick_start.yaml", [])
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = architecture, "cpu"
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("shapes_train_panoptic",), (dataset,)
    cfg.OUTPUT_DIR = str(tmp_path)
    with pytest.raises(ConfigError, match=f"{architecture} gives.*{dataset}.*evaluated by {key}"):
        DefaultTrainer(cfg)

    class OwnEvaluation(DefaultTrainer):
        @classmethod
        def build_evaluator(cls, cfg, dataset_name):
            return DatasetEvaluators([])

    OwnEvaluation(cfg)


def test_first_of_several_keys_is_read_from_either_kind_of_config():
    """People's copies of `default_setup` read the output folder so."""
    keys = ("OUTPUT_DIR", "output_dir", "train.output_dir")
    assert _try_get_key(get_cfg(), *keys) == "./output"
    assert _try_get_key({"train": {"output_dir": "here"}}, *keys) == "here"
    assert _try_get_key({"OUTPUT_DIR": {}}, "OUTPUT_DIR.x", default=7) == 7
