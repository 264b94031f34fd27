"""Every configuration key, its default and one line of meaning.

Keys and values are detectron2's, so that its YAML files work unchanged; the keys that only d2lite
has are marked "(d2lite)". Read as a table, from top to bottom; `get_cfg()` hands out copies of it.
"""

from .node import CfgNode as CN

__all__ = ["_C"]

_C = CN()

# Generation of the key names. 2 is the only one that is read.
_C.VERSION = 2

# ---------------------------------------------------------------------------------------- MODEL
_C.MODEL = CN()
# Device of the model. While nobody sets it, Apple MPS or the CPU stand in for a missing CUDA.
_C.MODEL.DEVICE = "cuda"
# Name in META_ARCH_REGISTRY of the whole network.
_C.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
# Path or address of the weights to start from; empty for random weights.
_C.MODEL.WEIGHTS = ""
# Predict a mask for each object.
_C.MODEL.MASK_ON = False
# Predict keypoints for each object.
_C.MODEL.KEYPOINT_ON = False
# From weights of other classes, take over what belongs to the classes that both sides name.
_C.MODEL.KEEP_MATCHING_CLASSES = False
# Read proposals from DATASETS.PROPOSAL_FILES_* in place of computing them.
_C.MODEL.LOAD_PROPOSALS = False
# Subtracted from each channel of the image, in the channel order of INPUT.FORMAT, range 0-255.
_C.MODEL.PIXEL_MEAN = [103.530, 116.280, 123.675]
# Divides each channel afterwards. The converted Caffe weights have it folded into conv1: ones.
_C.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]

_C.MODEL.BACKBONE = CN()
# Name in BACKBONE_REGISTRY.
_C.MODEL.BACKBONE.NAME = "build_resnet_backbone"
# Freeze this many leading stages: 0 none, 1 the stem, 2 the stem and the first residual stage, ...
_C.MODEL.BACKBONE.FREEZE_AT = 2

_C.MODEL.FPN = CN()
# Backbone maps that feed the pyramid, from fine to coarse; strides double from one to the next.
_C.MODEL.FPN.IN_FEATURES = []
# Channels of every pyramid level.
_C.MODEL.FPN.OUT_CHANNELS = 256
# Norm after each pyramid convolution: "" none, "BN", "SyncBN", "GN", ...
_C.MODEL.FPN.NORM = ""
# How the top-down map meets the lateral one: "sum" or "avg".
_C.MODEL.FPN.FUSE_TYPE = "sum"

_C.MODEL.PROPOSAL_GENERATOR = CN()
# Name in PROPOSAL_GENERATOR_REGISTRY: "RPN", "RRPN", or "PrecomputedProposals".
_C.MODEL.PROPOSAL_GENERATOR.NAME = "RPN"
# Proposals with a side of this many input pixels or fewer are dropped.
_C.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 0

_C.MODEL.ANCHOR_GENERATOR = CN()
# Name in ANCHOR_GENERATOR_REGISTRY.
_C.MODEL.ANCHOR_GENERATOR.NAME = "DefaultAnchorGenerator"
# Square root of the anchor area in input pixels: one list a level, or one list for all levels.
_C.MODEL.ANCHOR_GENERATOR.SIZES = [[32, 64, 128, 256, 512]]
# Height over width: one list a level, or one list for all levels.
_C.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
# Angles in degrees; only the generator of rotated anchors reads them.
_C.MODEL.ANCHOR_GENERATOR.ANGLES = [[-90, 0, 90]]
# Where the first anchor centre lies in its cell, as a share of the stride, in [0, 1).
_C.MODEL.ANCHOR_GENERATOR.OFFSET = 0.0

_C.MODEL.RPN = CN()
# Name in RPN_HEAD_REGISTRY.
_C.MODEL.RPN.HEAD_NAME = "StandardRPNHead"
# Feature maps that carry anchors.
_C.MODEL.RPN.IN_FEATURES = ["res4"]
# Anchors that reach this many pixels over the image border are not trained on; -1 keeps all.
_C.MODEL.RPN.BOUNDARY_THRESH = -1
# IoU limits between background, ignored and object anchors ...
_C.MODEL.RPN.IOU_THRESHOLDS = [0.3, 0.7]
# ... and the label of each of the ranges: 0 background, -1 ignored, 1 object.
_C.MODEL.RPN.IOU_LABELS = [0, -1, 1]
# Anchors sampled for the loss in each image.
_C.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 256
# Share of them that may be objects.
_C.MODEL.RPN.POSITIVE_FRACTION = 0.5
# Box loss: "smooth_l1", "giou", "diou" or "ciou".
_C.MODEL.RPN.BBOX_REG_LOSS_TYPE = "smooth_l1"
# Weight of the box loss alone.
_C.MODEL.RPN.BBOX_REG_LOSS_WEIGHT = 1.0
# Scales of (dx, dy, dw, dh).
_C.MODEL.RPN.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
# Where smooth L1 turns from square to linear; 0 is plain L1.
_C.MODEL.RPN.SMOOTH_L1_BETA = 0.0
# Weight of both RPN losses.
_C.MODEL.RPN.LOSS_WEIGHT = 1.0
# Best-scored proposals kept before NMS, on each level.
_C.MODEL.RPN.PRE_NMS_TOPK_TRAIN = 12000
_C.MODEL.RPN.PRE_NMS_TOPK_TEST = 6000
# Proposals kept after NMS, over all levels of an image.
_C.MODEL.RPN.POST_NMS_TOPK_TRAIN = 2000
_C.MODEL.RPN.POST_NMS_TOPK_TEST = 1000
# IoU above which the weaker proposal goes.
_C.MODEL.RPN.NMS_THRESH = 0.7
# Channels of the head's hidden convolutions; -1 keeps the channels of the input.
_C.MODEL.RPN.CONV_DIMS = [-1]

_C.MODEL.ROI_HEADS = CN()
# Name in ROI_HEADS_REGISTRY.
_C.MODEL.ROI_HEADS.NAME = "Res5ROIHeads"
# Object classes, background not counted. Follows from the data set while nobody sets it.
_C.MODEL.ROI_HEADS.NUM_CLASSES = 80
# Feature maps that the heads pool from.
_C.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
# IoU limits between background and object proposals, and the label of each range.
_C.MODEL.ROI_HEADS.IOU_THRESHOLDS = [0.5]
_C.MODEL.ROI_HEADS.IOU_LABELS = [0, 1]
# Proposals sampled for the loss in each image, and the share that may be objects.
_C.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512
_C.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25
# Detections of a lower score are dropped.
_C.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.05
# IoU above which the weaker detection of one class goes.
_C.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.5
# Give the true boxes to the heads as proposals in training.
_C.MODEL.ROI_HEADS.PROPOSAL_APPEND_GT = True

_C.MODEL.ROI_BOX_HEAD = CN()
# Name in ROI_BOX_HEAD_REGISTRY.
_C.MODEL.ROI_BOX_HEAD.NAME = ""
# Box loss: "smooth_l1", "giou", "diou" or "ciou".
_C.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE = "smooth_l1"
# Weight of the box loss.
_C.MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT = 1.0
# Scales of (dx, dy, dw, dh).
_C.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Where smooth L1 turns from square to linear; 0 is plain L1.
_C.MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA = 0.0
# Side of the pooled square, in cells.
_C.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
# Samples along each side of a cell; 0 takes as many as the box has pixels.
_C.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0
# "ROIAlignV2" (half-pixel aligned), "ROIAlign", "ROIPool" or "ROIAlignRotated".
_C.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignV2"
# Hidden convolutions, then hidden fully connected layers, and their widths.
_C.MODEL.ROI_BOX_HEAD.NUM_CONV = 0
_C.MODEL.ROI_BOX_HEAD.CONV_DIM = 256
_C.MODEL.ROI_BOX_HEAD.NUM_FC = 0
_C.MODEL.ROI_BOX_HEAD.FC_DIM = 1024
# Norm of the convolutions.
_C.MODEL.ROI_BOX_HEAD.NORM = ""
# One box for all classes instead of one a class.
_C.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = False
# Train the later heads on the boxes this head predicts, not on the proposals.
_C.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = False
# Federated loss of LVIS: only this many classes an image enter the loss ...
_C.MODEL.ROI_BOX_HEAD.USE_FED_LOSS = False
_C.MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES = 50
# ... drawn with image frequency to this power.
_C.MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER = 0.5
# One sigmoid a class in place of the softmax.
_C.MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = False

_C.MODEL.ROI_BOX_CASCADE_HEAD = CN()
# Box scales of each stage; the number of stages is the length.
_C.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS = (
    (10.0, 10.0, 5.0, 5.0),
    (20.0, 20.0, 10.0, 10.0),
    (30.0, 30.0, 15.0, 15.0),
)
# IoU that makes a proposal an object in each stage.
_C.MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.5, 0.6, 0.7)

_C.MODEL.ROI_MASK_HEAD = CN()
# Name in ROI_MASK_HEAD_REGISTRY.
_C.MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
# Side of the pooled square; the predicted mask has twice that.
_C.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
_C.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_MASK_HEAD.POOLER_TYPE = "ROIAlignV2"
# Hidden convolutions, their width (also that of the upsampling one) and norm.
_C.MODEL.ROI_MASK_HEAD.NUM_CONV = 0
_C.MODEL.ROI_MASK_HEAD.CONV_DIM = 256
_C.MODEL.ROI_MASK_HEAD.NORM = ""
# One mask for all classes instead of one a class.
_C.MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK = False

_C.MODEL.ROI_KEYPOINT_HEAD = CN()
# Name in ROI_KEYPOINT_HEAD_REGISTRY.
_C.MODEL.ROI_KEYPOINT_HEAD.NAME = "KRCNNConvDeconvUpsampleHead"
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION = 14
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE = "ROIAlignV2"
# Widths of the hidden convolutions.
_C.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = (512,) * 8
# Keypoints of an object; 17 in COCO.
_C.MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 17
# Training images with fewer visible keypoints are left out.
_C.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 1
# Divide the loss by the visible keypoints of the batch, not by a constant.
_C.MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS = True
# Weight of the loss.
_C.MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT = 1.0

_C.MODEL.SEM_SEG_HEAD = CN()
# Name in SEM_SEG_HEADS_REGISTRY.
_C.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHead"
# Pyramid levels that are upsampled and summed.
_C.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]
# Label of pixels that enter no loss.
_C.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 255
# Classes, things as one class included where the data set has it so.
_C.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 54
# Width and norm of the convolutions.
_C.MODEL.SEM_SEG_HEAD.CONVS_DIM = 128
_C.MODEL.SEM_SEG_HEAD.NORM = "GN"
# Stride at which the levels are summed.
_C.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 4
# Weight of the loss.
_C.MODEL.SEM_SEG_HEAD.LOSS_WEIGHT = 1.0

_C.MODEL.PANOPTIC_FPN = CN()
# Weight of all instance losses.
_C.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT = 1.0
# Join instances and semantic map into one panoptic map at inference.
_C.MODEL.PANOPTIC_FPN.COMBINE = CN()
_C.MODEL.PANOPTIC_FPN.COMBINE.ENABLED = True
# An instance covered by better ones to more than this share is dropped.
_C.MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH = 0.5
# Stuff regions of fewer pixels are dropped.
_C.MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT = 4096
# Instances of a lower score are dropped.
_C.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.5

_C.MODEL.RETINANET = CN()
# Object classes. Follows from the data set while nobody sets it.
_C.MODEL.RETINANET.NUM_CLASSES = 80
# Feature maps that carry anchors.
_C.MODEL.RETINANET.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
# Hidden convolutions of each of the two branches, and their norm.
_C.MODEL.RETINANET.NUM_CONVS = 4
_C.MODEL.RETINANET.NORM = ""
# IoU limits between background, ignored and object anchors, and the label of each range.
_C.MODEL.RETINANET.IOU_THRESHOLDS = [0.4, 0.5]
_C.MODEL.RETINANET.IOU_LABELS = [0, -1, 1]
# Probability of an object that the fresh head predicts everywhere.
_C.MODEL.RETINANET.PRIOR_PROB = 0.01
# Detections of a lower score are dropped, then this many a level go to NMS at this IoU.
_C.MODEL.RETINANET.SCORE_THRESH_TEST = 0.05
_C.MODEL.RETINANET.TOPK_CANDIDATES_TEST = 1000
_C.MODEL.RETINANET.NMS_THRESH_TEST = 0.5
# Scales of (dx, dy, dw, dh).
_C.MODEL.RETINANET.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
# Focal loss.
_C.MODEL.RETINANET.FOCAL_LOSS_GAMMA = 2.0
_C.MODEL.RETINANET.FOCAL_LOSS_ALPHA = 0.25
# Box loss and where smooth L1 turns linear.
_C.MODEL.RETINANET.BBOX_REG_LOSS_TYPE = "smooth_l1"
_C.MODEL.RETINANET.SMOOTH_L1_LOSS_BETA = 0.1

# FCOS (d2lite: the reference has no keys for it).
_C.MODEL.FCOS = CN()
# Object classes. Follows from the data set while nobody sets it.
_C.MODEL.FCOS.NUM_CLASSES = 80
# Feature maps whose cells predict.
_C.MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
# Hidden convolutions of each of the two branches, and their norm.
_C.MODEL.FCOS.NUM_CONVS = 4
_C.MODEL.FCOS.NORM = "GN"
# Probability of an object that the fresh head predicts everywhere.
_C.MODEL.FCOS.PRIOR_PROB = 0.01
# Cells learn an object up to so many strides from its centre.
_C.MODEL.FCOS.CENTER_SAMPLING_RADIUS = 1.5
# Focal loss.
_C.MODEL.FCOS.FOCAL_LOSS_GAMMA = 2.0
_C.MODEL.FCOS.FOCAL_LOSS_ALPHA = 0.25
# Detections of a lower score are dropped, then this many a level go to NMS at this IoU.
_C.MODEL.FCOS.SCORE_THRESH_TEST = 0.2
_C.MODEL.FCOS.TOPK_CANDIDATES_TEST = 1000
_C.MODEL.FCOS.NMS_THRESH_TEST = 0.6

_C.MODEL.RESNETS = CN()
# 18, 34, 50, 101 or 152 layers.
_C.MODEL.RESNETS.DEPTH = 50
# Maps handed out, of "stem", "res2" ... "res5".
_C.MODEL.RESNETS.OUT_FEATURES = ["res4"]
# Groups of the 3x3 convolutions (ResNeXt) and the width of one.
_C.MODEL.RESNETS.NUM_GROUPS = 1
_C.MODEL.RESNETS.WIDTH_PER_GROUP = 64
# Norm: "FrozenBN", "BN", "SyncBN", "GN", ...
_C.MODEL.RESNETS.NORM = "FrozenBN"
# Put the stride on the first 1x1 convolution (as MSRA's weights have it), not on the 3x3 one.
_C.MODEL.RESNETS.STRIDE_IN_1X1 = True
# Dilation of res5; 2 keeps the stride of res4.
_C.MODEL.RESNETS.RES5_DILATION = 1
# Channels after the stem and after res2. Depths 18 and 34 need 64 for the latter.
_C.MODEL.RESNETS.STEM_OUT_CHANNELS = 64
_C.MODEL.RESNETS.RES2_OUT_CHANNELS = 256
# Deformable 3x3 convolutions in res2 ... res5, with a learned modulation or not, and their groups.
_C.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, False]
_C.MODEL.RESNETS.DEFORM_MODULATED = False
_C.MODEL.RESNETS.DEFORM_NUM_GROUPS = 1

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
# Registered names to train on; several are joined by class name.
_C.DATASETS.TRAIN = ()
# How many times an epoch shows the images of each set of TRAIN, for instance (1.0, 2.5); empty:
# once (d2lite). Other samplers than RandomSubsetTrainingSampler multiply it with their own factors.
_C.DATASETS.TRAIN_REPEATS = ()
# Registered names to evaluate on, one table each.
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
# "SGD" or "AdamW" (d2lite).
_C.SOLVER.OPTIMIZER = "SGD"
# Images of one step, over all processes.
_C.SOLVER.IMS_PER_BATCH = 16
# Split each step into this many passes: the same step with less memory (d2lite).
_C.SOLVER.ACCUMULATE_STEPS = 1
# IMS_PER_BATCH, rates and iterations are meant for this many processes and are rescaled linearly
# to the processes there are; 0 leaves them alone.
_C.SOLVER.REFERENCE_WORLD_SIZE = 0
# Steps of the whole training.
_C.SOLVER.MAX_ITER = 40000
# The same in passes over the training data, wins over MAX_ITER; 0 leaves MAX_ITER (d2lite).
_C.SOLVER.MAX_EPOCHS = 0.0
_C.SOLVER.BASE_LR = 0.001
# Rate at the very end, for WarmupCosineLR.
_C.SOLVER.BASE_LR_END = 0.0
# "WarmupMultiStepLR", "WarmupCosineLR" or "WarmupStepWithFixedGammaLR".
_C.SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
# Iterations at which the rate is multiplied by GAMMA.
_C.SOLVER.STEPS = (30000,)
# The same in epochs, wins over STEPS (d2lite).
_C.SOLVER.STEP_EPOCHS = ()
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
# SGD.
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.NESTEROV = False
# AdamW (d2lite).
_C.SOLVER.BETAS = (0.9, 0.999)
_C.SOLVER.WEIGHT_DECAY = 0.0001
# Weight decay of norm layers.
_C.SOLVER.WEIGHT_DECAY_NORM = 0.0
# Weight decay of biases; null takes WEIGHT_DECAY.
_C.SOLVER.WEIGHT_DECAY_BIAS = None
# Rate of biases over BASE_LR.
_C.SOLVER.BIAS_LR_FACTOR = 1.0
# Steps between checkpoints.
_C.SOLVER.CHECKPOINT_PERIOD = 5000
# The same in epochs, wins over CHECKPOINT_PERIOD; 0 leaves it (d2lite).
_C.SOLVER.CHECKPOINT_EPOCHS = 0.0
# Keep this many of the newest periodic checkpoints; 0 keeps all (d2lite).
_C.SOLVER.CHECKPOINT_MAX_TO_KEEP = 0
# End the run when a checkpoint cannot be written, instead of telling it and going on.
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
# Steps between two looks at the losses on a GPU; 1 looks at once and waits for each step.
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
# Steps between evaluations during training; 0 evaluates at the end only.
_C.TEST.EVAL_PERIOD = 0
# The same in epochs, wins over EVAL_PERIOD; 0 leaves it (d2lite).
_C.TEST.EVAL_EPOCHS = 0.0
# Steps between measurements of the losses on DATASETS.TEST; 0 measures none (d2lite).
_C.TEST.LOSS_PERIOD = 0
# The same in epochs, wins over LOSS_PERIOD; 0 leaves it (d2lite).
_C.TEST.LOSS_EPOCHS = 0.0
# Sigmas of the keypoint metric; empty takes COCO's 17.
_C.TEST.KEYPOINT_OKS_SIGMAS = []
# Detections kept in each image.
_C.TEST.DETECTIONS_PER_IMAGE = 100
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
# "", "highest", "high" or "medium": precision of float32 products, see
# torch.set_float32_matmul_precision; empty leaves it alone.
_C.FLOAT32_PRECISION = ""
# Steps between pictures of training samples in the event files; 0 draws none.
_C.VIS_PERIOD = 0
# Room for quick experiments, reachable anywhere through d2lite.config.global_cfg.
_C.GLOBAL = CN()
_C.GLOBAL.HACK = 1.0

# ------------------------------------------------------------------- further backbones (d2lite)
# Networks of timm and torchvision: MODEL.BACKBONE.NAME "timm:NAME" or "torchvision:NAME".
_C.MODEL.ADAPTER = CN()
# Maps handed out, of "res1" (stride 2) ... "res5" (stride 32); empty takes MODEL.FPN.IN_FEATURES,
# and all where that is empty too.
_C.MODEL.ADAPTER.OUT_FEATURES = []
# Keep weights and statistics of all batch norms as they are, not only of frozen stages.
_C.MODEL.ADAPTER.FREEZE_NORM = False
# Further arguments of the network, for instance {drop_path_rate: 0.1}.
_C.MODEL.ADAPTER.OPTIONS = CN(new_allowed=True)

# build_swin_backbone, build_swin_fpn_backbone; the values make Swin-T.
_C.MODEL.SWIN = CN()
_C.MODEL.SWIN.EMBED_DIM = 96
# Blocks and heads of each stage.
_C.MODEL.SWIN.DEPTHS = [2, 2, 6, 2]
_C.MODEL.SWIN.NUM_HEADS = [3, 6, 12, 24]
_C.MODEL.SWIN.WINDOW_SIZE = 7
_C.MODEL.SWIN.DROP_PATH_RATE = 0.2
# Maps handed out; p0 has stride 4.
_C.MODEL.SWIN.OUT_FEATURES = ["p0", "p1", "p2", "p3"]
# Compute blocks again in the backward pass, to save memory.
_C.MODEL.SWIN.USE_CHECKPOINT = False

# build_vit_backbone, build_vit_fpn_backbone; the values make ViTDet's base model.
_C.MODEL.VIT = CN()
# Side of the images that relative positions are made for, in pixels.
_C.MODEL.VIT.IMG_SIZE = 1024
_C.MODEL.VIT.PATCH_SIZE = 16
_C.MODEL.VIT.EMBED_DIM = 768
_C.MODEL.VIT.DEPTH = 12
_C.MODEL.VIT.NUM_HEADS = 12
_C.MODEL.VIT.DROP_PATH_RATE = 0.1
_C.MODEL.VIT.USE_REL_POS = True
# Side of the windows in patches; the blocks of these numbers see the whole map.
_C.MODEL.VIT.WINDOW_SIZE = 14
_C.MODEL.VIT.GLOBAL_BLOCKS = [2, 5, 8, 11]
# Blocks that a convolutional residual block follows.
_C.MODEL.VIT.RESIDUAL_BLOCKS = []
_C.MODEL.VIT.USE_ACT_CHECKPOINT = False
# Norm of the simple pyramid; its channels are MODEL.FPN.OUT_CHANNELS.
_C.MODEL.VIT.PYRAMID_NORM = "LN"
# Pad images to a square of at least this side; 0 pads to a multiple of the stride only.
_C.MODEL.VIT.SQUARE_PAD = 1024

# build_mvit_backbone, build_mvit_fpn_backbone; the values make MViTv2-T.
_C.MODEL.MVIT = CN()
# Side of the images that relative positions are made for, in pixels.
_C.MODEL.MVIT.IMG_SIZE = 224
_C.MODEL.MVIT.EMBED_DIM = 96
_C.MODEL.MVIT.DEPTH = 10
_C.MODEL.MVIT.NUM_HEADS = 1
# Number of the last block of each stage.
_C.MODEL.MVIT.LAST_BLOCK_INDEXES = [0, 2, 7, 9]
# Side of the windows in the first stage, in cells.
_C.MODEL.MVIT.WINDOW_SIZE = 56
_C.MODEL.MVIT.DROP_PATH_RATE = 0.2
_C.MODEL.MVIT.OUT_FEATURES = ["scale2", "scale3", "scale4", "scale5"]
_C.MODEL.MVIT.USE_ACT_CHECKPOINT = False
_C.MODEL.MVIT.SQUARE_PAD = 0

# build_regnet_backbone, build_regnet_fpn_backbone; the values make RegNetX-4GF.
_C.MODEL.REGNET = CN()
_C.MODEL.REGNET.STEM_WIDTH = 32
_C.MODEL.REGNET.DEPTH = 23
# Widths follow W_0 + W_A * block, in steps of the factor W_M.
_C.MODEL.REGNET.W_A = 38.65
_C.MODEL.REGNET.W_0 = 96
_C.MODEL.REGNET.W_M = 2.43
_C.MODEL.REGNET.GROUP_WIDTH = 40
# Squeeze and excitation (RegNetY: 0.25); 0 for none.
_C.MODEL.REGNET.SE_RATIO = 0.0
_C.MODEL.REGNET.NORM = "FrozenBN"
# Maps handed out, of "stem" (stride 2), "s1" (4) ... "s4" (32).
_C.MODEL.REGNET.OUT_FEATURES = ["s1", "s2", "s3", "s4"]
