"""The keys of MODEL, their defaults and one line of meaning each; `defaults` has the others."""

from .node import CfgNode as CN

__all__ = ["MODEL"]

MODEL = CN()
# Device of the model. While nobody sets it, Apple MPS or the CPU are used where CUDA is missing.
MODEL.DEVICE = "cuda"
# Keep maps and convolution weights with their channels last in memory: the same numbers up to
# rounding, some 15 % less time for SOLOv2 on a CPU (d2lite).
MODEL.CHANNELS_LAST = False
# Let torch.compile make code of backbone and dense heads in training and evaluation: the same
# numbers up to rounding, and a minute or more before the first step (d2lite).
MODEL.COMPILE = False
# Name in META_ARCH_REGISTRY of the whole network.
MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
# Path or address of the weights to start from; empty for random weights.
MODEL.WEIGHTS = ""
# Predict a mask for each object.
MODEL.MASK_ON = False
# Predict keypoints for each object.
MODEL.KEYPOINT_ON = False
# From weights of other classes, take over what belongs to the classes that both sides name.
MODEL.KEEP_MATCHING_CLASSES = False
# Read proposals from DATASETS.PROPOSAL_FILES_* in place of computing them.
MODEL.LOAD_PROPOSALS = False
# Subtracted from each channel of the image, in the channel order of INPUT.FORMAT, range 0-255.
MODEL.PIXEL_MEAN = [103.530, 116.280, 123.675]
# Divides each channel afterwards. The converted Caffe weights have it folded into conv1: ones.
MODEL.PIXEL_STD = [1.0, 1.0, 1.0]

MODEL.BACKBONE = CN()
# Name in BACKBONE_REGISTRY.
MODEL.BACKBONE.NAME = "build_resnet_backbone"
# Freeze this many leading stages: 0 none, 1 the stem, 2 the stem and the first residual stage, ...
MODEL.BACKBONE.FREEZE_AT = 2

MODEL.FPN = CN()
# Backbone maps that feed the pyramid, from fine to coarse; strides double from one to the next.
MODEL.FPN.IN_FEATURES = []
# Channels of every pyramid level.
MODEL.FPN.OUT_CHANNELS = 256
# Norm after each pyramid convolution: "" none, "BN", "SyncBN", "GN", ...
MODEL.FPN.NORM = ""
# How the top-down map meets the lateral one: "sum" or "avg".
MODEL.FPN.FUSE_TYPE = "sum"
# Apply a ReLU to "p6" before "p7" is made of it (d2lite; MMDetection's RetinaNet does not).
MODEL.FPN.RELU_BEFORE_P7 = True
# How maps are mixed (d2lite): "top_down", from coarse to fine; "nas" (NAS-FPN) and "bifpn", in so
# many stages; or "high_resolution" (HRFPN), all at the finest one.
MODEL.FPN.FUSION = "top_down"
MODEL.FPN.NUM_STAGES = 7
# Of "top_down" (d2lite): mix the maps from fine to coarse afterwards (PAFPN), and add the mean of
# all maps to each, refined by "non_local", "conv" or "mean" (Libra R-CNN); "" for no mean. It has
# the size of the map of this number, from the finest as 0.
MODEL.FPN.BOTTOM_UP_PATH = False
MODEL.FPN.BALANCE = ""
MODEL.FPN.BALANCE_LEVEL = 2

MODEL.PROPOSAL_GENERATOR = CN()
# Name in PROPOSAL_GENERATOR_REGISTRY: "RPN", "RRPN", or "PrecomputedProposals".
MODEL.PROPOSAL_GENERATOR.NAME = "RPN"
# Proposals with a side of this many input pixels or fewer are dropped.
MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 0

MODEL.ANCHOR_GENERATOR = CN()
# Name in ANCHOR_GENERATOR_REGISTRY.
MODEL.ANCHOR_GENERATOR.NAME = "DefaultAnchorGenerator"
# Square root of the anchor area in input pixels: one list a level, or one list for all levels.
MODEL.ANCHOR_GENERATOR.SIZES = [[32, 64, 128, 256, 512]]
# Height over width: one list a level, or one list for all levels.
MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
# Angles in degrees; only the generator of rotated anchors reads them.
MODEL.ANCHOR_GENERATOR.ANGLES = [[-90, 0, 90]]
# Place of the first anchor centre in its cell, as a share of the stride, in [0, 1).
MODEL.ANCHOR_GENERATOR.OFFSET = 0.0

MODEL.RPN = CN()
# Name in RPN_HEAD_REGISTRY.
MODEL.RPN.HEAD_NAME = "StandardRPNHead"
# Feature maps that carry anchors.
MODEL.RPN.IN_FEATURES = ["res4"]
# Anchors that reach this many pixels over the image border are not trained on; -1 keeps all.
MODEL.RPN.BOUNDARY_THRESH = -1
# IoU limits between background, ignored and object anchors ...
MODEL.RPN.IOU_THRESHOLDS = [0.3, 0.7]
# ... and the label of each of the ranges: 0 background, -1 ignored, 1 object.
MODEL.RPN.IOU_LABELS = [0, -1, 1]
# Anchors sampled for the loss in each image.
MODEL.RPN.BATCH_SIZE_PER_IMAGE = 256
# Share of them that may be objects.
MODEL.RPN.POSITIVE_FRACTION = 0.5
# Box loss: "smooth_l1", "balanced_l1", "iou", "bounded_iou", "giou", "diou", "ciou" or "eiou".
MODEL.RPN.BBOX_REG_LOSS_TYPE = "smooth_l1"
# Weight of the box loss alone.
MODEL.RPN.BBOX_REG_LOSS_WEIGHT = 1.0
# Scales of (dx, dy, dw, dh).
MODEL.RPN.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
# Where smooth L1 turns from square to linear; 0 is plain L1.
MODEL.RPN.SMOOTH_L1_BETA = 0.0
# Weight of both RPN losses.
MODEL.RPN.LOSS_WEIGHT = 1.0
# Best-scored proposals kept before NMS, on each level.
MODEL.RPN.PRE_NMS_TOPK_TRAIN = 12000
MODEL.RPN.PRE_NMS_TOPK_TEST = 6000
# Proposals kept after NMS, over all levels of an image.
MODEL.RPN.POST_NMS_TOPK_TRAIN = 2000
MODEL.RPN.POST_NMS_TOPK_TEST = 1000
# IoU above which the weaker proposal goes.
MODEL.RPN.NMS_THRESH = 0.7
# Channels of the head's hidden convolutions; -1 keeps the channels of the input.
MODEL.RPN.CONV_DIMS = [-1]

MODEL.ROI_HEADS = CN()
# Name in ROI_HEADS_REGISTRY.
MODEL.ROI_HEADS.NAME = "Res5ROIHeads"
# Object classes, background not counted. Follows from the data set while nobody sets it.
MODEL.ROI_HEADS.NUM_CLASSES = 80
# Feature maps that the heads pool from.
MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
# IoU limits between background and object proposals, and the label of each range.
MODEL.ROI_HEADS.IOU_THRESHOLDS = [0.5]
MODEL.ROI_HEADS.IOU_LABELS = [0, 1]
# Proposals sampled for the loss in each image, and the share that may be objects.
MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512
MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25
# Which are sampled: "random", "instance_balanced" (evenly over objects), "iou_balanced" (background
# evenly over its IoU with objects), "libra" (both), "ohem" (of the largest loss) or "score_hlr"
# (background that is taken for an object, place by place) (d2lite).
MODEL.ROI_HEADS.SAMPLER = "random"
# Detections of a lower score are dropped.
MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.05
# IoU above which the weaker detection of one class goes.
MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.5
# Give the true boxes to the heads as proposals in training.
MODEL.ROI_HEADS.PROPOSAL_APPEND_GT = True

MODEL.ROI_BOX_HEAD = CN()
# Name in ROI_BOX_HEAD_REGISTRY.
MODEL.ROI_BOX_HEAD.NAME = ""
# Box loss, with the names of MODEL.RPN.BBOX_REG_LOSS_TYPE; of rotated boxes also "rotated_iou".
MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE = "smooth_l1"
# Weight of the box loss.
MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT = 1.0
# Scales of (dx, dy, dw, dh).
MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Where smooth L1 turns from square to linear; 0 is plain L1.
MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA = 0.0
# Side of the pooled square, in cells.
MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
# Samples along each side of a cell; 0 takes as many as the box has pixels.
MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0
# "ROIAlignV2" (half-pixel aligned), "ROIAlign", "ROIPool" or "ROIAlignRotated".
MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignV2"
# Hidden convolutions, then hidden fully connected layers, and their widths.
MODEL.ROI_BOX_HEAD.NUM_CONV = 0
MODEL.ROI_BOX_HEAD.CONV_DIM = 256
MODEL.ROI_BOX_HEAD.NUM_FC = 0
MODEL.ROI_BOX_HEAD.FC_DIM = 1024
# Norm of the convolutions.
MODEL.ROI_BOX_HEAD.NORM = ""
# One box for all classes instead of one a class.
MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = False
# Train the later heads on the boxes this head predicts, not on the proposals.
MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = False
# Federated loss of LVIS: only this many classes an image enter the loss ...
MODEL.ROI_BOX_HEAD.USE_FED_LOSS = False
MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES = 50
# ... drawn with image frequency to this power.
MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER = 0.5
# One sigmoid a class in place of the softmax.
MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE = False
# For long-tailed classes "seesaw", "equalized" or "class_balanced" in place of either; "" for none
# (d2lite).
MODEL.ROI_BOX_HEAD.CLASS_LOSS = ""
# Above 0, scores of classes are cosines of features and weights times this; 20 with the seesaw
# loss (d2lite).
MODEL.ROI_BOX_HEAD.COSINE_SCALE = 0.0
# Above 0, objects and background weigh in the loss of classes by their hierarchical local ranks, to
# these powers; (2.0, 0.5) in PISA (d2lite).
MODEL.ROI_BOX_HEAD.RANK_EXPONENTS = (0.0, 0.0)

MODEL.ROI_BOX_CASCADE_HEAD = CN()
# Box scales of each stage; the number of stages is the length.
MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS = (
    (10.0, 10.0, 5.0, 5.0),
    (20.0, 20.0, 10.0, 10.0),
    (30.0, 30.0, 15.0, 15.0),
)
# IoU that makes a proposal an object in each stage.
MODEL.ROI_BOX_CASCADE_HEAD.IOUS = (0.5, 0.6, 0.7)
# Factors on the losses of each stage. () for none: then gradients of regions are divided by the
# number of stages (d2lite).
MODEL.ROI_BOX_CASCADE_HEAD.LOSS_WEIGHTS = ()
# What is averaged over stages in tests: "probabilities" of classes, or the "logits" before them
# (d2lite).
MODEL.ROI_BOX_CASCADE_HEAD.AVERAGE = "probabilities"
# A mask head for each stage, trained on its boxes; masks are averaged. False for one that is
# trained on the proposals (d2lite).
MODEL.ROI_BOX_CASCADE_HEAD.MASK_HEADS = False

MODEL.ROI_MASK_HEAD = CN()
# Name in ROI_MASK_HEAD_REGISTRY.
MODEL.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
# Side of the pooled square; the predicted mask has twice that.
MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 0
MODEL.ROI_MASK_HEAD.POOLER_TYPE = "ROIAlignV2"
# Hidden convolutions, their width (also that of the upsampling one) and norm.
MODEL.ROI_MASK_HEAD.NUM_CONV = 0
MODEL.ROI_MASK_HEAD.CONV_DIM = 256
MODEL.ROI_MASK_HEAD.NORM = ""
# One mask for all classes instead of one a class.
MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK = False
# See MODEL.ROI_BOX_HEAD.COSINE_SCALE; for the logits of masks (d2lite).
MODEL.ROI_MASK_HEAD.COSINE_SCALE = 0.0

MODEL.ROI_KEYPOINT_HEAD = CN()
# Name in ROI_KEYPOINT_HEAD_REGISTRY.
MODEL.ROI_KEYPOINT_HEAD.NAME = "KRCNNConvDeconvUpsampleHead"
MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION = 14
MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0
MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE = "ROIAlignV2"
# Widths of the hidden convolutions.
MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS = (512,) * 8
# Keypoints of an object; 17 in COCO.
MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = 17
# Training images with fewer visible keypoints are left out.
MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 1
# Divide the loss by the visible keypoints of the batch, not by a constant.
MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS = True
# Weight of the loss.
MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT = 1.0

MODEL.SEM_SEG_HEAD = CN()
# Name in SEM_SEG_HEADS_REGISTRY.
MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHead"
# Pyramid levels that are upsampled and summed.
MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]
# Label of pixels that enter no loss.
MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 255
# Classes, things as one class included where the data set has it so.
MODEL.SEM_SEG_HEAD.NUM_CLASSES = 54
# Width and norm of the convolutions.
MODEL.SEM_SEG_HEAD.CONVS_DIM = 128
MODEL.SEM_SEG_HEAD.NORM = "GN"
# Stride at which the levels are summed.
MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 4
# Weight of the loss.
MODEL.SEM_SEG_HEAD.LOSS_WEIGHT = 1.0

MODEL.PANOPTIC_FPN = CN()
# Weight of all instance losses.
MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT = 1.0
# Join instances and semantic map into one panoptic map at inference.
MODEL.PANOPTIC_FPN.COMBINE = CN()
MODEL.PANOPTIC_FPN.COMBINE.ENABLED = True
# An instance covered by better ones to more than this share is dropped.
MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH = 0.5
# Stuff regions of fewer pixels are dropped.
MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT = 4096
# Instances of a lower score are dropped.
MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.5

MODEL.RETINANET = CN()
# Object classes. Follows from the data set while nobody sets it.
MODEL.RETINANET.NUM_CLASSES = 80
# Feature maps that carry anchors.
MODEL.RETINANET.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
# Hidden convolutions of each of the two branches, and their norm.
MODEL.RETINANET.NUM_CONVS = 4
MODEL.RETINANET.NORM = ""
# IoU limits between background, ignored and object anchors, and the label of each range.
MODEL.RETINANET.IOU_THRESHOLDS = [0.4, 0.5]
MODEL.RETINANET.IOU_LABELS = [0, -1, 1]
# Probability of an object that the fresh head predicts everywhere.
MODEL.RETINANET.PRIOR_PROB = 0.01
# Detections of a lower score are dropped, then this many a level go to NMS at this IoU.
MODEL.RETINANET.SCORE_THRESH_TEST = 0.05
MODEL.RETINANET.TOPK_CANDIDATES_TEST = 1000
MODEL.RETINANET.NMS_THRESH_TEST = 0.5
# Cut boxes at the borders of the image before NMS (d2lite; as MMDetection does).
MODEL.RETINANET.CLIP_CANDIDATES = False
# Scales of (dx, dy, dw, dh).
MODEL.RETINANET.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
# Loss of classes: "focal" or "ghm" (gradient harmonized, d2lite).
MODEL.RETINANET.CLASS_LOSS = "focal"
MODEL.RETINANET.FOCAL_LOSS_GAMMA = 2.0
MODEL.RETINANET.FOCAL_LOSS_ALPHA = 0.25
# Box loss, a name of MODEL.RPN.BBOX_REG_LOSS_TYPE or "ghm", its weight (d2lite), and where L1 turns
# linear.
MODEL.RETINANET.BBOX_REG_LOSS_TYPE = "smooth_l1"
MODEL.RETINANET.BBOX_REG_LOSS_WEIGHT = 1.0
MODEL.RETINANET.SMOOTH_L1_LOSS_BETA = 0.1

# FCOS (d2lite: the reference has no keys for it).
MODEL.FCOS = CN()
# Object classes. Follows from the data set while nobody sets it.
MODEL.FCOS.NUM_CLASSES = 80
# Feature maps whose cells predict.
MODEL.FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
# Hidden convolutions of each of the two branches, and their norm.
MODEL.FCOS.NUM_CONVS = 4
MODEL.FCOS.NORM = "GN"
# Probability of an object that the fresh head predicts everywhere.
MODEL.FCOS.PRIOR_PROB = 0.01
# Cells learn an object up to so many strides from its centre.
MODEL.FCOS.CENTER_SAMPLING_RADIUS = 1.5
# Focal loss.
MODEL.FCOS.FOCAL_LOSS_GAMMA = 2.0
MODEL.FCOS.FOCAL_LOSS_ALPHA = 0.25
# Detections of a lower score are dropped, then this many a level go to NMS at this IoU.
MODEL.FCOS.SCORE_THRESH_TEST = 0.2
MODEL.FCOS.TOPK_CANDIDATES_TEST = 1000
MODEL.FCOS.NMS_THRESH_TEST = 0.6

MODEL.RESNETS = CN()
# 18, 34, 50, 101 or 152 layers.
MODEL.RESNETS.DEPTH = 50
# Maps that it gives, of "stem", "res2" ... "res5".
MODEL.RESNETS.OUT_FEATURES = ["res4"]
# Groups of the 3x3 convolutions (ResNeXt) and the width of one.
MODEL.RESNETS.NUM_GROUPS = 1
MODEL.RESNETS.WIDTH_PER_GROUP = 64
# Norm: "FrozenBN", "BN", "SyncBN", "GN", ...; "GN_WS" is GN with standardised weights of
# convolutions, also in pyramids and heads of regions (d2lite).
MODEL.RESNETS.NORM = "FrozenBN"
# Put the stride on the first 1x1 convolution (as MSRA's weights have it), not on the 3x3 one.
MODEL.RESNETS.STRIDE_IN_1X1 = True
# Three 3 x 3 convolutions first instead of one of 7 x 7 (ResNet-C and -D; d2lite).
MODEL.RESNETS.DEEP_STEM = False
# Shortcuts that halve a map average its cells (ResNet-D; d2lite).
MODEL.RESNETS.AVG_DOWN = False
# Compute blocks again in the backward pass, to save memory (d2lite).
MODEL.RESNETS.USE_ACT_CHECKPOINT = False
# Dilation of res5; 2 keeps the stride of res4.
MODEL.RESNETS.RES5_DILATION = 1
# Channels after the stem and after res2. Depths 18 and 34 need at most 64 for the latter.
MODEL.RESNETS.STEM_OUT_CHANNELS = 64
MODEL.RESNETS.RES2_OUT_CHANNELS = 256
# Deformable 3x3 convolutions in res2 ... res5, with a learned modulation or not, and their groups.
MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, False]
MODEL.RESNETS.DEFORM_MODULATED = False
MODEL.RESNETS.DEFORM_NUM_GROUPS = 1
# A layer on what each block adds, in these stages: "non_local", "global_context" or "rfb", which
# change nothing at the start, or "eca", "cbam", "spp" or "drop_block"; "" for none. And the share
# of channels that the hidden layers of the first three and of "cbam" have (d2lite).
MODEL.RESNETS.PLUGIN = ""
MODEL.RESNETS.PLUGIN_ON_PER_STAGE = [False, True, True, True]
MODEL.RESNETS.PLUGIN_RATIO = 0.0625

# ------------------------------------------------------------------- further backbones (d2lite)
# Networks of timm and torchvision: MODEL.BACKBONE.NAME "timm:NAME" or "torchvision:NAME".
MODEL.ADAPTER = CN()
# Maps that it gives, of "res1" (stride 2) ... "res5" (stride 32); empty takes
# MODEL.FPN.IN_FEATURES, and all where that is empty too. Under a simple pyramid "p2" ... "p5".
MODEL.ADAPTER.OUT_FEATURES = []
# Keep weights and statistics of all batch norms as they are, not only of frozen stages.
MODEL.ADAPTER.FREEZE_NORM = False
# Further arguments of the network, for instance {drop_path_rate: 0.1}.
MODEL.ADAPTER.OPTIONS = CN(new_allowed=True)

# Vision transformers of timm: MODEL.BACKBONE.NAME "timm_vit:NAME", one map of the patches' stride,
# or "timm_vit_fpn:NAME" with the simple pyramid. MODEL.ADAPTER.OPTIONS holds further arguments.
MODEL.TIMM_VIT = CN()
# Side of the windows in patches, 0 for none; the blocks of these numbers see the whole map.
MODEL.TIMM_VIT.WINDOW_SIZE = 0
MODEL.TIMM_VIT.GLOBAL_BLOCKS = []
# Compute blocks again in the backward pass, to save memory.
MODEL.TIMM_VIT.USE_ACT_CHECKPOINT = False
# Norm of the simple pyramid; its channels are MODEL.FPN.OUT_CHANNELS.
MODEL.TIMM_VIT.PYRAMID_NORM = "LN"
# Pad images to a square of at least this side; 0 pads to a multiple of the stride only.
MODEL.TIMM_VIT.SQUARE_PAD = 0
# A convolutional network of timm, such as "resnet18d", whose map of this stride is read in place of
# patches, for trainings from scratch; "" for none.
MODEL.TIMM_VIT.STEM = ""
MODEL.TIMM_VIT.STEM_STRIDE = 8

# build_swin_backbone, build_swin_fpn_backbone; the values make Swin-T.
MODEL.SWIN = CN()
MODEL.SWIN.EMBED_DIM = 96
# Blocks and heads of each stage.
MODEL.SWIN.DEPTHS = [2, 2, 6, 2]
MODEL.SWIN.NUM_HEADS = [3, 6, 12, 24]
MODEL.SWIN.WINDOW_SIZE = 7
MODEL.SWIN.DROP_PATH_RATE = 0.2
# Maps that it gives; p0 has stride 4.
MODEL.SWIN.OUT_FEATURES = ["p0", "p1", "p2", "p3"]
# Compute blocks again in the backward pass, to save memory.
MODEL.SWIN.USE_CHECKPOINT = False

# build_vit_backbone, build_vit_fpn_backbone; the values make ViTDet's base model.
MODEL.VIT = CN()
# Side of the images that relative positions are made for, in pixels.
MODEL.VIT.IMG_SIZE = 1024
MODEL.VIT.PATCH_SIZE = 16
MODEL.VIT.EMBED_DIM = 768
MODEL.VIT.DEPTH = 12
MODEL.VIT.NUM_HEADS = 12
MODEL.VIT.DROP_PATH_RATE = 0.1
MODEL.VIT.USE_REL_POS = True
# Side of the windows in patches; the blocks of these numbers see the whole map.
MODEL.VIT.WINDOW_SIZE = 14
MODEL.VIT.GLOBAL_BLOCKS = [2, 5, 8, 11]
# Blocks that a convolutional residual block follows.
MODEL.VIT.RESIDUAL_BLOCKS = []
MODEL.VIT.USE_ACT_CHECKPOINT = False
# Norm of the simple pyramid; its channels are MODEL.FPN.OUT_CHANNELS.
MODEL.VIT.PYRAMID_NORM = "LN"
# Pad images to a square of at least this side; 0 pads to a multiple of the stride only.
MODEL.VIT.SQUARE_PAD = 1024

# build_mvit_backbone, build_mvit_fpn_backbone; the values make MViTv2-T.
MODEL.MVIT = CN()
# Side of the images that relative positions are made for, in pixels.
MODEL.MVIT.IMG_SIZE = 224
MODEL.MVIT.EMBED_DIM = 96
MODEL.MVIT.DEPTH = 10
MODEL.MVIT.NUM_HEADS = 1
# Number of the last block of each stage.
MODEL.MVIT.LAST_BLOCK_INDEXES = [0, 2, 7, 9]
# Side of the windows in the first stage, in cells.
MODEL.MVIT.WINDOW_SIZE = 56
MODEL.MVIT.DROP_PATH_RATE = 0.2
MODEL.MVIT.OUT_FEATURES = ["scale2", "scale3", "scale4", "scale5"]
MODEL.MVIT.USE_ACT_CHECKPOINT = False
MODEL.MVIT.SQUARE_PAD = 0

# build_regnet_backbone, build_regnet_fpn_backbone; the values make RegNetX-4GF.
MODEL.REGNET = CN()
MODEL.REGNET.STEM_WIDTH = 32
MODEL.REGNET.DEPTH = 23
# Widths follow W_0 + W_A * block, in steps of the factor W_M.
MODEL.REGNET.W_A = 38.65
MODEL.REGNET.W_0 = 96
MODEL.REGNET.W_M = 2.43
MODEL.REGNET.GROUP_WIDTH = 40
# Squeeze and excitation (RegNetY: 0.25); 0 for none.
MODEL.REGNET.SE_RATIO = 0.0
MODEL.REGNET.NORM = "FrozenBN"
# Maps that it gives, of "stem" (stride 2), "s1" (4) ... "s4" (32).
MODEL.REGNET.OUT_FEATURES = ["s1", "s2", "s3", "s4"]
