"""Every configuration key, its default and one line of meaning.

Keys and values are detectron2's, so that its YAML files work unchanged; the keys that only d2lite
has are marked "(d2lite)". `get_cfg()` gives copies of it.
"""

from .model_defaults import MODEL
from .node import CfgNode as CN

__all__ = ["_C"]

_C = CN()

# Version of the names of the keys; files of versions 0 and 1 are read by their present names.
_C.VERSION = 2

# ---------------------------------------------------------------------------------------- MODEL
_C.MODEL = MODEL

# ---------------------------------------------------------------------------------------- INPUT
_C.INPUT = CN()
# Channel order given to the model: "BGR", "RGB", another mode of Pillow, or one letter for each
# channel of other images, as "RGBN"; MODEL.PIXEL_MEAN and PIXEL_STD have as many numbers.
_C.INPUT.FORMAT = "BGR"
# How masks are kept in training: "polygon" (small, exact under resizing) or "bitmask".
_C.INPUT.MASK_FORMAT = "polygon"
# Short side in training: one drawn of them ("choice") or from between two of them ("range").
_C.INPUT.MIN_SIZE_TRAIN = (800,)
_C.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
# Limit of the long side in training.
_C.INPUT.MAX_SIZE_TRAIN = 1333
# Short side (0: no resizing) and limit of the long side at inference.
_C.INPUT.MIN_SIZE_TEST = 800
_C.INPUT.MAX_SIZE_TEST = 1333
# "horizontal", "vertical" or "none".
_C.INPUT.RANDOM_FLIP = "horizontal"
# Random crop in training.
_C.INPUT.CROP = CN()
_C.INPUT.CROP.ENABLED = False
# "relative", "relative_range", "absolute" or "absolute_range".
_C.INPUT.CROP.TYPE = "relative_range"
# Height and width: shares of the image for the relative types, pixels for the absolute ones.
_C.INPUT.CROP.SIZE = [0.9, 0.9]
# All augmentations of training in their order, as texts such as "RandomAffine(angle=10)" (see
# docs/augmentation.md); "Default" stands for what the other keys of INPUT say. Empty: that alone.
_C.INPUT.AUGMENTATIONS = ()
# The same in tests: resizing and colours; "Default" is MIN_SIZE_TEST. Empty: that alone.
_C.INPUT.AUGMENTATIONS_TEST = ()
# Mosaic, MixUp and CopyPaste are left out of this many iterations at the end of training.
_C.INPUT.MIXING_OFF_LAST_ITERS = 0
# The same in epochs, wins over the iterations; 0 leaves them.
_C.INPUT.MIXING_OFF_LAST_EPOCHS = 0.0
# Names of other augmentations that are left out at the end as well, as ("PhotometricDistortion",).
_C.INPUT.OFF_WITH_MIXING = ()
# One size for all images of a batch where ResizeShortestEdge or RandomResize draw one (d2lite).
_C.INPUT.SIZE_BY_BATCH = False
# Further augmentations in training (d2lite).
_C.INPUT.AUG = CN()
# Large-scale jitter, in place of MIN_SIZE_TRAIN and MAX_SIZE_TRAIN: fit into SIZE (height, width),
# scaled by a factor drawn from SCALE, then crop to SIZE. Smaller ones are padded by the batch.
_C.INPUT.AUG.LARGE_SCALE_JITTER = CN()
_C.INPUT.AUG.LARGE_SCALE_JITTER.ENABLED = False
_C.INPUT.AUG.LARGE_SCALE_JITTER.SCALE = (0.1, 2.0)
_C.INPUT.AUG.LARGE_SCALE_JITTER.SIZE = (1024, 1024)
# Colours, each of the four with probability one half: grey levels added or taken away, factors of
# contrast and of saturation (least, greatest), degrees of hue.
_C.INPUT.AUG.PHOTOMETRIC = CN()
_C.INPUT.AUG.PHOTOMETRIC.ENABLED = False
_C.INPUT.AUG.PHOTOMETRIC.BRIGHTNESS = 32.0
_C.INPUT.AUG.PHOTOMETRIC.CONTRAST = (0.5, 1.5)
_C.INPUT.AUG.PHOTOMETRIC.SATURATION = (0.5, 1.5)
_C.INPUT.AUG.PHOTOMETRIC.HUE = 18.0
# SSD's crop before resizing: every object overlaps it by an IoU drawn from MIN_IOUS, 0 and 1 (no
# crop); its sides are at least this share of the image's.
_C.INPUT.AUG.MIN_IOU_CROP = CN()
_C.INPUT.AUG.MIN_IOU_CROP.ENABLED = False
_C.INPUT.AUG.MIN_IOU_CROP.MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9)
_C.INPUT.AUG.MIN_IOU_CROP.MIN_SIZE = 0.3

# ------------------------------------------------------------------------------------- DATASETS
_C.DATASETS = CN()
# Sets to train on, each a registered name or a string such as "coco:labels.json@photos" (see
# docs/datasets.md); several are joined by class name.
_C.DATASETS.TRAIN = ()
# How many times an epoch shows the images of each set of TRAIN, for instance (1.0, 2.5); empty:
# once (d2lite). Other samplers than RandomSubsetTrainingSampler multiply it with their own factors.
_C.DATASETS.TRAIN_REPEATS = ()
# Sets to evaluate on, one table each.
_C.DATASETS.TEST = ()
# Files of ready-made proposals, one a data set, and how many of each image's are used.
_C.DATASETS.PROPOSAL_FILES_TRAIN = ()
_C.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN = 2000
_C.DATASETS.PROPOSAL_FILES_TEST = ()
_C.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 1000

# ----------------------------------------------------------------------------------- DATALOADER
_C.DATALOADER = CN()
# Loader processes of each training process; 0 loads in the training process itself.
_C.DATALOADER.NUM_WORKERS = 4
# Batches that each loader process keeps ready (d2lite).
_C.DATALOADER.PREFETCH = 2
# Training stops when more than this share of its images cannot be read, or of its objects cannot be
# used; fewer are replaced by the next sample, or skipped, and counted in the log (d2lite).
_C.DATALOADER.MAX_BAD_SHARE = 0.1
# Share of the images that RandomSubsetTrainingSampler draws once and keeps to, in (0, 1].
_C.DATALOADER.RANDOM_SUBSET_RATIO = 1.0
# Batch wide images with wide ones and tall with tall, which saves padding.
_C.DATALOADER.ASPECT_RATIO_GROUPING = True
# "TrainingSampler", "RepeatFactorTrainingSampler" or "RandomSubsetTrainingSampler".
_C.DATALOADER.SAMPLER_TRAIN = "TrainingSampler"
# RepeatFactorTrainingSampler: classes in a smaller share of the images are repeated ...
_C.DATALOADER.REPEAT_THRESHOLD = 0.0
# ... by the square root of the lack, or by the lack itself.
_C.DATALOADER.REPEAT_SQRT = True
# Leave out training images without objects.
_C.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True

# --------------------------------------------------------------------------------------- SOLVER
_C.SOLVER = CN()
# "SGD", or "AdamW" or "Adam" (d2lite); small or capital letters.
_C.SOLVER.OPTIMIZER = "SGD"
# Images of one step, over all processes.
_C.SOLVER.IMS_PER_BATCH = 16
# Split each step into this many passes: the same step with less memory (d2lite). It takes a second
# forward pass, which counts what losses are divided by.
_C.SOLVER.ACCUMULATE_STEPS = 1
# IMS_PER_BATCH, rates and iterations are meant for this many processes and are rescaled linearly
# to the processes there are; 0 leaves them alone.
_C.SOLVER.REFERENCE_WORLD_SIZE = 0
# Iterations of the whole training.
_C.SOLVER.MAX_ITER = 40000
# The same in passes over the training data, wins over MAX_ITER; 0 leaves MAX_ITER (d2lite).
_C.SOLVER.MAX_EPOCHS = 0.0
# Learning rate after the warm-up, for a step of IMS_PER_BATCH images.
_C.SOLVER.BASE_LR = 0.001
# Rate at the very end, for schedules with a cosine.
_C.SOLVER.BASE_LR_END = 0.0
# "WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR", "WarmupPolyLR", or (d2lite)
# "WarmupFlatCosineLR", "OneCycleLR".
_C.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
# Share of the training that WarmupFlatCosineLR keeps BASE_LR before it falls, in (0, 1) (d2lite).
_C.SOLVER.FLAT_PART = 0.5
# OneCycleLR: the share of the training in which the rate rises to BASE_LR, and the factor of it
# that it starts from; it falls to BASE_LR_END afterwards. WARMUP_* has no effect (d2lite).
_C.SOLVER.ONE_CYCLE = CN()
_C.SOLVER.ONE_CYCLE.RISE_PART = 0.3
_C.SOLVER.ONE_CYCLE.START_FACTOR = 0.04
# Iterations at which the rate is multiplied by GAMMA.
_C.SOLVER.STEPS = (30000,)
# The same in epochs, wins over STEPS (d2lite).
_C.SOLVER.STEP_EPOCHS = ()
# Factor of the rate at each of STEPS.
_C.SOLVER.GAMMA = 0.1
# Number of equally spaced drops, for WarmupStepWithFixedGammaLR.
_C.SOLVER.NUM_DECAYS = 3
# First iterations, with a rate that starts at WARMUP_FACTOR; "linear" or "constant".
_C.SOLVER.WARMUP_ITERS = 1000
# The same in epochs, wins over WARMUP_ITERS; 0 leaves it (d2lite).
_C.SOLVER.WARMUP_EPOCHS = 0.0
_C.SOLVER.WARMUP_FACTOR = 1.0 / 1000
_C.SOLVER.WARMUP_METHOD = "linear"
# Lengthen the schedule by the number of processes when rates are rescaled.
_C.SOLVER.RESCALE_INTERVAL = False
# Of SGD.
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.NESTEROV = False
# Of AdamW and Adam (d2lite).
_C.SOLVER.BETAS = (0.9, 0.999)
# Weight decay of all that the next two keys leave.
_C.SOLVER.WEIGHT_DECAY = 0.0001
# Weight decay of norm layers.
_C.SOLVER.WEIGHT_DECAY_NORM = 0.0
# Weight decay of biases; null takes WEIGHT_DECAY.
_C.SOLVER.WEIGHT_DECAY_BIAS = None
# Rate of biases over BASE_LR.
_C.SOLVER.BIAS_LR_FACTOR = 1.0
# Rate of each block of the backbone over that of the block after it (ViT, Swin, MViT, ConvNeXt of
# timm), in (0, 1]; 1 for equal rates (d2lite).
_C.SOLVER.LAYER_DECAY = 1.0
# Rates and weight decay by the names of parameters, for any model: entries of [regular expression,
# factor of the rate, weight decay or None]. Factors of all that fit are multiplied, and the last
# weight decay counts (d2lite).
_C.SOLVER.PARAM_GROUPS = ()
# Iterations between checkpoints.
_C.SOLVER.CHECKPOINT_PERIOD = 5000
# The same in epochs, wins over CHECKPOINT_PERIOD; 0 leaves it (d2lite).
_C.SOLVER.CHECKPOINT_EPOCHS = 0.0
# Keep this many of the newest periodic checkpoints; 0 keeps all (d2lite).
_C.SOLVER.CHECKPOINT_MAX_TO_KEEP = 0
# End the run when a checkpoint cannot be written, instead of a line in the log.
_C.SOLVER.STOP_ON_SAVE_ERROR = False
# Keep the checkpoint with the best result too (d2lite).
_C.SOLVER.BEST_CHECKPOINT = CN()
# For instance "bbox/AP50"; empty keeps none.
_C.SOLVER.BEST_CHECKPOINT.METRIC = ""
# "max" or "min".
_C.SOLVER.BEST_CHECKPOINT.MODE = "max"
# End the run when a metric does not get better any more (d2lite).
_C.SOLVER.EARLY_STOPPING = CN()
# For instance "bbox/AP50" or "validation/total_loss"; empty ends no run early.
_C.SOLVER.EARLY_STOPPING.METRIC = ""
# "max" or "min".
_C.SOLVER.EARLY_STOPPING.MODE = "max"
# Evaluations in a row without a better value after which the run ends.
_C.SOLVER.EARLY_STOPPING.PATIENCE = 5
# By how much a value has to exceed the best one to be better.
_C.SOLVER.EARLY_STOPPING.MIN_DELTA = 0.0
# Gradient clipping.
_C.SOLVER.CLIP_GRADIENTS = CN()
_C.SOLVER.CLIP_GRADIENTS.ENABLED = False
# "value" (each element), "norm" (each parameter) or "full_model" (all as one vector).
_C.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "value"
_C.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0
# The p of the p-norm; not used by "value".
_C.SOLVER.CLIP_GRADIENTS.NORM_TYPE = 2.0
# What to do with a step whose loss or gradient is infinite or NaN (d2lite).
_C.SOLVER.NONFINITE = CN()
# "stop" ends the run with a report; "skip" leaves the step out, which waits for each step.
_C.SOLVER.NONFINITE.ACTION = "stop"
# Steps in a row that may be left out; one more ends the run.
_C.SOLVER.NONFINITE.MAX_SKIPS = 5
# Iterations between two looks at the losses on a GPU; 1 looks at once and waits for each step.
_C.SOLVER.NONFINITE.CHECK_PERIOD = 20
# Log a gradient whose norm is this many times the median of the last 100; 0 measures none (d2lite).
_C.SOLVER.GRADIENT_ALARM = 20.0

# Automatic mixed precision.
_C.SOLVER.AMP = CN()
_C.SOLVER.AMP.ENABLED = False
# "float16" (with a loss scaler) or "bfloat16" (d2lite).
_C.SOLVER.AMP.PRECISION = "float16"

# Fully sharded training: each process keeps a part of weights, gradients and optimizer state, so
# that large backbones fit; with one process it changes nothing (d2lite).
_C.SOLVER.FSDP = CN()
_C.SOLVER.FSDP.ENABLED = False
# Blocks of the backbone with at least this many parameters are gathered one by one.
_C.SOLVER.FSDP.MIN_PARAMS = 100000

# ------------------------------------------------------------------------------------ MODEL_EMA
# A moving average of the weights, which is what is evaluated and saved as the model (d2lite).
_C.MODEL_EMA = CN()
_C.MODEL_EMA.ENABLED = False
# Share of the old average in the new one: 0.999 averages about the last 1,000 steps.
_C.MODEL_EMA.DECAY = 0.999
# Let the first steps count for more, so that the weights of the start are soon forgotten.
_C.MODEL_EMA.WARMUP = True

# ----------------------------------------------------------------------------------------- TEST
_C.TEST = CN()
# Images of one inference step of each process (d2lite).
_C.TEST.IMS_PER_BATCH = 1
# Seconds between progress lines of an evaluation (d2lite).
_C.TEST.LOG_PERIOD = 5.0
# Results to verify after the last evaluation: [[task, metric, expected, tolerance], ...].
_C.TEST.EXPECTED_RESULTS = []
# Iterations between evaluations during training; 0 evaluates at the end only.
_C.TEST.EVAL_PERIOD = 0
# The same in epochs, wins over EVAL_PERIOD; 0 leaves it (d2lite).
_C.TEST.EVAL_EPOCHS = 0.0
# Iterations between measurements of the losses on DATASETS.TEST; 0 measures none (d2lite).
_C.TEST.LOSS_PERIOD = 0
# The same in epochs, wins over LOSS_PERIOD; 0 leaves it (d2lite).
_C.TEST.LOSS_EPOCHS = 0.0
# Evaluators that run besides that of a set's type, by their names in EVALUATOR_REGISTRY (d2lite).
_C.TEST.EVALUATORS = ()
# Sigmas of the keypoint metric; empty takes COCO's 17.
_C.TEST.KEYPOINT_OKS_SIGMAS = []
# Detections kept in each image.
_C.TEST.DETECTIONS_PER_IMAGE = 100
# Suppression of R-CNN and dense models: "" drops boxes above the model's NMS_THRESH_TEST, "linear"
# and "gaussian" let their scores fall, until MIN_SCORE; SIGMA is of "gaussian". "fast" drops a box
# for any better one, even a dropped one (d2lite).
_C.TEST.SOFT_NMS = CN()
_C.TEST.SOFT_NMS.METHOD = ""
_C.TEST.SOFT_NMS.SIGMA = 0.5
_C.TEST.SOFT_NMS.MIN_SCORE = 0.001
# Evaluate on several sizes and flipped, and join the detections.
_C.TEST.AUG = CN()
_C.TEST.AUG.ENABLED = False
_C.TEST.AUG.MIN_SIZES = (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)
_C.TEST.AUG.MAX_SIZE = 4000
_C.TEST.AUG.FLIP = True
# Recompute batch-norm statistics over NUM_ITER training batches before evaluating.
_C.TEST.PRECISE_BN = CN()
_C.TEST.PRECISE_BN.ENABLED = False
_C.TEST.PRECISE_BN.NUM_ITER = 200

# ----------------------------------------------------------------------------------------- misc
# Folder of logs, checkpoints and results.
_C.OUTPUT_DIR = "./output"
# Seed of every draw; negative draws one and logs it.
_C.SEED = -1
# Let cuDNN try its algorithms: faster with inputs of one size, slower with many sizes.
_C.CUDNN_BENCHMARK = False
# Let a GPU add in a fixed order, so that a run can be repeated and resumed bit for bit; slower
# (d2lite). torch warns of an operator that cannot.
_C.DETERMINISTIC = False
# "", "highest", "high" or "medium": precision of float32 products, see
# torch.set_float32_matmul_precision; empty leaves it alone.
_C.FLOAT32_PRECISION = ""
# Iterations between two writings of scalars, on the console and in the files (d2lite).
_C.LOG_PERIOD = 20
# Writers besides those of the console, metrics.json and TensorBoard: "csv" (results.csv), "wandb"
# and "mlflow" (d2lite).
_C.WRITERS = ()
# Hooks of your own, by their names in HOOK_REGISTRY or as "module.Class"; those that a file of
# --import registers are added by themselves (d2lite).
_C.HOOKS = ()
# Iterations between pictures of training samples in the event files; 0 draws none.
_C.VIS_PERIOD = 0
# Write report.html into OUTPUT_DIR at the end of a training or an evaluation (d2lite).
_C.REPORT = CN()
_C.REPORT.ENABLED = True
# Room for quick experiments, reachable anywhere through d2lite.config.global_cfg.
_C.GLOBAL = CN()
_C.GLOBAL.HACK = 1.0
