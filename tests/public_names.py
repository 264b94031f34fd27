"""The public addresses that users' code rests on: module below d2lite -> names it must offer.

They are those of detectron2's `detectron2.MODULE`, so that code moves over by changing its
imports, and our own beside them. Add a row or a name with everything new that is public.
"""

PUBLIC_NAMES: dict[str, str] = {
    "checkpoint": "Checkpointer DetectionCheckpointer LoadReport PeriodicCheckpointer",
    "checkpoint.c2_model_loading": """align_and_update_state_dicts convert_basic_c2_names
        convert_c2_detectron_names""",
    "checkpoint.catalog": "ModelCatalog ModelCatalogHandler",
    "checkpoint.detection_checkpoint": "DetectionCheckpointer",
    "config": """CfgNode LazyCall LazyConfig PythonRunConfig annotated_yaml as_run_config
        config_diff configurable downgrade_config find_config_file get_cfg global_cfg instantiate
        set_global_cfg upgrade_config""",
    "config.compat": "ConverterV1 ConverterV2 downgrade_config guess_version upgrade_config",
    "config.config": """CfgNode _called_with_cfg _get_args_from_config configurable get_cfg
        global_cfg set_global_cfg""",
    "config.defaults": "_C",
    "config.instantiate": "dump_dataclass instantiate",
    "config.lazy": "LazyCall LazyConfig",
    "data": """DatasetCatalog DatasetFromList DatasetMapper MapDataset Metadata MetadataCatalog
        ToIterableDataset build_batch_data_loader build_detection_test_loader
        build_detection_train_loader get_detection_dataset_dicts load_proposals_into_dataset
        print_instances_class_histogram detection_utils transforms""",
    "data.benchmark": "DataLoaderBenchmark iter_benchmark",
    "data.build": """AspectRatioGroupedDataset DatasetFromList DatasetMapper InferenceSampler
        MapDataset RandomSubsetTrainingSampler RepeatFactorTrainingSampler ToIterableDataset
        TrainingSampler build_batch_data_loader build_detection_test_loader
        build_detection_train_loader check_metadata_consistency get_detection_dataset_dicts
        load_proposals_into_dataset print_instances_class_histogram""",
    "data.catalog": "DatasetCatalog Metadata MetadataCatalog",
    "data.checking": "sound_records check_images",
    "data.common": "AspectRatioGroupedDataset DatasetFromList MapDataset ToIterableDataset",
    "data.dataset_mapper": "DatasetMapper",
    "data.datasets": """convert_to_coco_json get_lvis_instances_meta load_coco_json load_lvis_json
        load_sem_seg load_voc_instances register_coco_instances register_coco_panoptic
        register_coco_panoptic_separated register_lvis_instances register_pascal_voc""",
    "data.datasets.builtin": """_PREDEFINED_SPLITS_COCO _PREDEFINED_SPLITS_COCO_PANOPTIC
        _PREDEFINED_SPLITS_LVIS _RAW_CITYSCAPES_SPLITS _get_builtin_metadata
        register_all_ade20k register_all_cityscapes register_all_coco register_all_lvis
        register_all_pascal_voc""",
    "data.datasets.builtin_meta": """ADE20K_SEM_SEG_CATEGORIES CITYSCAPES_CATEGORIES
        COCO_CATEGORIES COCO_PERSON_KEYPOINT_FLIP_MAP COCO_PERSON_KEYPOINT_NAMES
        KEYPOINT_CONNECTION_RULES _get_builtin_metadata _get_coco_instances_meta
        _get_coco_panoptic_separated_meta""",
    "data.datasets.cityscapes": """_cityscapes_files_to_dict _get_cityscapes_files
        load_cityscapes_instances load_cityscapes_semantic""",
    "data.datasets.cityscapes_panoptic": """_RAW_CITYSCAPES_PANOPTIC_SPLITS
        get_cityscapes_panoptic_files load_cityscapes_panoptic
        register_all_cityscapes_panoptic""",
    "data.datasets.coco": "convert_to_coco_json load_coco_json register_coco_instances",
    "data.datasets.coco_panoptic": """load_coco_panoptic_json merge_to_panoptic
        register_coco_panoptic register_coco_panoptic_separated""",
    "data.datasets.lvis": """LVIS_V0_5_CATEGORIES LVIS_V1_CATEGORIES get_lvis_instances_meta
        load_lvis_json register_lvis_instances""",
    "data.datasets.lvis_v0_5_categories": "LVIS_CATEGORIES",
    "data.datasets.lvis_v1_categories": "LVIS_CATEGORIES",
    "data.datasets.pascal_voc": "load_voc_instances register_pascal_voc",
    "data.detection_utils": """SizeMismatchError annotations_to_instances build_augmentation
        check_image_size convert_image_to_rgb create_keypoint_hflip_indices filter_empty_instances
        read_image transform_instance_annotations transform_proposals""",
    "data.faults": "collecting_faults",
    "data.proposals": "load_proposals_into_dataset",
    "data.samplers": """InferenceSampler RandomSubsetTrainingSampler RepeatFactorTrainingSampler
        TrainingSampler""",
    "data.samplers.distributed_sampler": """InferenceSampler RandomSubsetTrainingSampler
        RepeatFactorTrainingSampler TrainingSampler""",
    "data.transforms": """AugInput Augmentation AugmentationList BlendTransform ColorTransform
        CropTransform ExtentTransform FixedSizeCrop HFlipTransform MinIoURandomCrop NoOpTransform
        PILColorTransform PadTransform RandomApply RandomBrightness RandomContrast RandomCrop
        RandomCrop_CategoryAreaConstraint RandomExtent RandomFlip RandomLighting RandomResize
        RandomRotation RandomSaturation Resize ResizeScale ResizeShortestEdge ResizeTransform
        RotationTransform ScaleTransform Transform TransformList VFlipTransform
        apply_augmentations""",
    "data.transforms.augmentation": """AugInput Augmentation AugmentationList _TransformToAug
        _get_aug_input_args _transform_to_aug apply_augmentations""",
    "data.transforms.augmentation_impl": """FixedSizeCrop MinIoURandomCrop RandomApply
        RandomBrightness RandomContrast RandomCrop RandomCrop_CategoryAreaConstraint RandomExtent
        RandomFlip RandomLighting RandomResize RandomRotation RandomSaturation Resize ResizeScale
        ResizeShortestEdge""",
    "data.transforms.transform": "Transform TransformList BlendTransform",
    "engine": """AMPTrainer DefaultPredictor DefaultTrainer HookBase SimpleTrainer TrainerBase
        create_ddp_model default_argument_parser default_setup default_writers hooks launch""",
    "engine.defaults": """AMPTrainer DefaultPredictor DefaultTrainer SimpleTrainer TrainerBase
        create_ddp_model default_argument_parser default_setup default_writers""",
    "engine.hooks": """BestCheckpointer CallbackHook EvalHook HookBase IterationTimer LRScheduler
        PeriodicCheckpointer PeriodicWriter PreciseBN TorchMemoryStats TorchProfiler""",
    "engine.launch": "DEFAULT_TIMEOUT launch",
    "engine.train_loop": "AMPTrainer HookBase SimpleTrainer TrainerBase",
    "export": """Caffe2Model Caffe2Tracer STABLE_ONNX_OPSET_VERSION TracingAdapter
        add_export_config dump_torchscript_IR scripting_with_instances""",
    "export.api": "Caffe2Model Caffe2Tracer add_export_config",
    "export.flatten": "Schema TracingAdapter flatten_to_tuple",
    "export.torchscript": "dump_torchscript_IR scripting_with_instances",
    "export.torchscript_patch": "freeze_training_mode patch_instances",
    "evaluation": """COCOEvaluator COCOPanopticEvaluator CityscapesInstanceEvaluator
        CityscapesSemSegEvaluator DatasetEvaluator DatasetEvaluators EVALUATOR_REGISTRY
        EvaluatorOptions LVISEvaluator PascalVOCDetectionEvaluator RotatedCOCOEvaluator
        SemSegEvaluator inference_context inference_on_dataset print_csv_format verify_results""",
    "evaluation.build": "EVALUATOR_REGISTRY EvaluatorOptions build_evaluator",
    "evaluation.cityscapes_evaluation": """CityscapesEvaluator CityscapesInstanceEvaluator
        CityscapesSemSegEvaluator""",
    "evaluation.coco_evaluation": """COCO COCOEvaluator COCOeval COCOevalMaxDets COCOeval_opt
        _evaluate_box_proposals _evaluate_predictions_on_coco instances_to_coco_json""",
    "evaluation.evaluator": """DatasetEvaluator DatasetEvaluators inference_context
        inference_on_dataset""",
    "evaluation.fast_eval_api": "COCOeval_opt",
    "evaluation.lvis_evaluation": """LVISEvaluator _evaluate_box_proposals
        _evaluate_predictions_on_lvis""",
    "evaluation.panoptic_evaluation": "COCOPanopticEvaluator _print_panoptic_results",
    "evaluation.pascal_voc_evaluation": "PascalVOCDetectionEvaluator voc_ap",
    "evaluation.rotated_coco_evaluation": "RotatedCOCOEvaluator RotatedCOCOeval",
    "evaluation.sem_seg_evaluation": "SemSegEvaluator load_image_into_numpy_array",
    "evaluation.testing": "flatten_results_dict print_csv_format verify_results",
    "layers": """BatchNorm2d CNNBlockBase Conv2d ConvTranspose2d DepthwiseSeparableConv2d
        FrozenBatchNorm2d Linear NaiveSyncBatchNorm ROIAlign ShapeSpec batched_nms cat
        ciou_loss cross_entropy diou_loss get_norm interpolate move_device_like nonzero_tuple
        paste_masks_in_image roi_align_rotated shapes_to_tensor""",
    "layers.batch_norm": "FrozenBatchNorm2d NaiveSyncBatchNorm get_norm",
    "layers.blocks": "CNNBlockBase DepthwiseSeparableConv2d",
    "layers.deform_conv": "DeformConv ModulatedDeformConv deform_conv modulated_deform_conv",
    "layers.losses": "ciou_loss diou_loss",
    "layers.mask_ops": "_do_paste_mask paste_masks_in_image",
    "layers.nms": "batched_nms",
    "layers.roi_align": "ROIAlign",
    "layers.roi_align_rotated": "ROIAlignRotated roi_align_rotated",
    "layers.shape_spec": "ShapeSpec",
    "layers.wrappers": "Conv2d cat cross_entropy move_device_like nonzero_tuple shapes_to_tensor",
    "model_zoo": "get get_checkpoint_url get_config get_config_file",
    "modeling": """ANCHOR_GENERATOR_REGISTRY BACKBONE_REGISTRY Backbone BaseKeypointRCNNHead
        BaseMaskRCNNHead DatasetMapperTTA FCOS FPN FastRCNNOutputLayers GeneralizedRCNN
        GeneralizedRCNNWithTTA META_ARCH_REGISTRY MViT PROPOSAL_GENERATOR_REGISTRY PanopticFPN
        ProposalNetwork ROIHeads ROI_BOX_HEAD_REGISTRY ROI_HEADS_REGISTRY
        ROI_KEYPOINT_HEAD_REGISTRY ROI_MASK_HEAD_REGISTRY RPN_HEAD_REGISTRY ResNet ResNetBlockBase
        RetinaNet SEM_SEG_HEADS_REGISTRY SemanticSegmentor ShapeSpec SimpleFeaturePyramid
        StandardROIHeads SwinTransformer ViT build_anchor_generator build_backbone build_box_head
        build_keypoint_head build_mask_head build_model build_proposal_generator
        build_resnet_backbone build_roi_heads build_rpn_head build_sem_seg_head
        detector_postprocess get_vit_lr_decay_rate make_stage""",
    "modeling.anchor_generator": """ANCHOR_GENERATOR_REGISTRY BufferList DefaultAnchorGenerator
        RotatedAnchorGenerator _broadcast_params _create_grid_offsets build_anchor_generator""",
    "modeling.backbone": """BACKBONE_REGISTRY Backbone BasicStem BottleneckBlock FPN MViT RegNet
        ResNet ResNetBlockBase SimpleFeaturePyramid SwinTransformer ViT build_backbone
        build_resnet_backbone get_vit_lr_decay_rate make_stage""",
    "modeling.backbone.backbone": "Backbone",
    "modeling.backbone.build": "BACKBONE_REGISTRY build_backbone",
    "modeling.backbone.fpn": """FPN build_fcos_resnet_fpn_backbone build_resnet_fpn_backbone
        build_retinanet_resnet_fpn_backbone""",
    "modeling.backbone.mvit": "MViT MultiScaleAttention MultiScaleBlock attention_pool",
    "modeling.backbone.regnet": """AnyNet RegNet ResBasicBlock ResBottleneckBlock ResStem SimpleStem
        VanillaBlock""",
    "modeling.backbone.resnet": """BasicBlock BasicStem BottleneckBlock ResNet ResNetBlockBase
        build_resnet_backbone make_stage""",
    "modeling.backbone.swin": """BasicLayer Mlp PatchEmbed PatchMerging SwinTransformer
        SwinTransformerBlock WindowAttention window_partition window_reverse""",
    "modeling.backbone.utils": """PatchEmbed add_decomposed_rel_pos get_abs_pos get_rel_pos
        window_partition window_unpartition""",
    "modeling.backbone.vit": """Attention Block ResBottleneckBlock SimpleFeaturePyramid ViT
        get_vit_lr_decay_rate""",
    "modeling.box_regression": "Box2BoxTransform",
    "modeling.matcher": "Matcher",
    "modeling.meta_arch": """DenseDetector FCOS GeneralizedRCNN META_ARCH_REGISTRY PanopticFPN
        ProposalNetwork RetinaNet SEM_SEG_HEADS_REGISTRY SemanticSegmentor build_model
        build_sem_seg_head""",
    "modeling.meta_arch.build": "META_ARCH_REGISTRY build_model",
    "modeling.meta_arch.dense_detector": "DenseDetector permute_to_N_HWA_K",
    "modeling.meta_arch.fcos": "FCOS FCOSHead",
    "modeling.meta_arch.panoptic_fpn": "PanopticFPN combine_semantic_and_instance_outputs",
    "modeling.meta_arch.rcnn": "GeneralizedRCNN ProposalNetwork",
    "modeling.meta_arch.retinanet": "RetinaNet RetinaNetHead",
    "modeling.meta_arch.semantic_seg": """SEM_SEG_HEADS_REGISTRY SemSegFPNHead SemanticSegmentor
        build_sem_seg_head""",
    "modeling.poolers": "ROIPooler",
    "modeling.postprocessing": "detector_postprocess",
    "modeling.proposal_generator": """PROPOSAL_GENERATOR_REGISTRY RPN RPN_HEAD_REGISTRY
        StandardRPNHead build_proposal_generator build_rpn_head""",
    "modeling.proposal_generator.proposal_utils": """add_ground_truth_to_proposals
        find_top_rpn_proposals""",
    "modeling.proposal_generator.rpn": "RPN StandardRPNHead build_rpn_head",
    "modeling.roi_heads": """BaseKeypointRCNNHead BaseMaskRCNNHead CascadeROIHeads
        FastRCNNConvFCHead FastRCNNOutputLayers KRCNNConvDeconvUpsampleHead
        MaskRCNNConvUpsampleHead ROIHeads RROIHeads Res5ROIHeads ROI_BOX_HEAD_REGISTRY
        ROI_HEADS_REGISTRY ROI_KEYPOINT_HEAD_REGISTRY ROI_MASK_HEAD_REGISTRY StandardROIHeads
        build_box_head build_mask_head build_roi_heads select_foreground_proposals""",
    "modeling.roi_heads.box_head": "FastRCNNConvFCHead ROI_BOX_HEAD_REGISTRY build_box_head",
    "modeling.roi_heads.fast_rcnn": "FastRCNNOutputLayers FastRCNNOutputs fast_rcnn_inference",
    "modeling.roi_heads.mask_head": """BaseMaskRCNNHead MaskRCNNConvUpsampleHead
        ROI_MASK_HEAD_REGISTRY build_mask_head mask_rcnn_inference mask_rcnn_loss""",
    "modeling.roi_heads.rotated_fast_rcnn": """RROIHeads RotatedFastRCNNOutputLayers
        fast_rcnn_inference_rotated fast_rcnn_inference_single_image_rotated""",
    "modeling.roi_heads.roi_heads": """ROIHeads ROI_HEADS_REGISTRY StandardROIHeads
        build_roi_heads select_foreground_proposals""",
    "modeling.sampling": "subsample_labels",
    "modeling.test_time_augmentation": "DatasetMapperTTA GeneralizedRCNNWithTTA",
    "projects": "add_project_configs project_names",
    "solver": """LRMultiplier LRScheduler WarmupCosineLR WarmupMultiStepLR WarmupParamScheduler
        build_lr_scheduler build_optimizer get_default_optimizer_params""",
    "solver.build": """_create_gradient_clipper
        _generate_optimizer_class_with_gradient_clipping build_lr_scheduler build_optimizer
        get_default_optimizer_params maybe_add_gradient_clipping""",
    "solver.lr_scheduler": "LRMultiplier WarmupCosineLR WarmupMultiStepLR WarmupParamScheduler",
    "structures": """BitMasks BoxMode Boxes ImageList Instances Keypoints PolygonMasks ROIMasks
        heatmaps_to_keypoints pairwise_ioa pairwise_iou pairwise_point_box_distance
        polygons_to_bitmask""",
    "structures.boxes": """BoxMode Boxes matched_pairwise_iou pairwise_intersection pairwise_ioa
        pairwise_iou pairwise_point_box_distance""",
    "structures.image_list": "ImageList",
    "structures.instances": "Instances",
    "structures.keypoints": "Keypoints _keypoints_to_heatmap heatmaps_to_keypoints",
    "structures.masks": "BitMasks PolygonMasks ROIMasks polygon_area polygons_to_bitmask",
    "utils.analysis": """FlopCountAnalysis TracingAdapter activation_count_operators
        find_unused_parameters flop_count_operators parameter_count parameter_count_table""",
    "utils.collect_env": "collect_env_info",
    "utils.colormap": "colormap random_color random_colors",
    "utils.comm": """_LOCAL_PROCESS_GROUP _get_global_gloo_group all_gather
        create_local_process_group gather get_local_process_group get_local_rank
        get_local_size get_rank get_world_size is_main_process reduce_dict shared_random_seed
        synchronize""",
    "utils.download": "download",
    "utils.draws": "draw_key image_generator keyed_draws keyed_images",
    "utils.keyed_rng": "DrawPurpose draw_key image_generator keyed_draws keyed_images",
    "utils.env": """TORCH_VERSION _import_file resolve_device seed_all_rng
        setup_custom_environment setup_environment""",
    "utils.errors": """ConfigError DataError DeviceError MissingFileError OutputError
        UnknownNameError UserError WeightsError""",
    "utils.events": """CommonMetricPrinter EventStorage JSONWriter TensorboardXWriter
        _CURRENT_STORAGE_STACK get_event_storage has_event_storage log_image log_scalars""",
    "utils.file_io": "PathHandler PathManager atomic_write cache_dir",
    "utils.logger": "_log_api_usage log_every_n log_every_n_seconds log_first_n setup_logger",
    "utils.memory": "_ignore_torch_cuda_oom retry_if_cuda_oom",
    "utils.registry": "Registry _convert_target_to_string locate",
    "utils.serialize": "PicklableWrapper",
    "utils.visualizer": """ColorMode VisImage Visualizer _BLACK _KEYPOINT_THRESHOLD
        _LARGE_MASK_AREA_THRESH _OFF_WHITE _PanopticPrediction _RED _SMALL_OBJECT_AREA_THRESH
        _create_text_labels random_color""",
    "visualization": "ColorMode VisImage Visualizer",
}
