import copy

import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T


class GrayMapper:
    """Reads an image, makes it grey, resizes and flips it."""

    def __init__(self, cfg, is_train):
        self.steps = [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]
        if is_train:
            self.steps.append(T.RandomFlip())
        self.is_train = is_train

    def __call__(self, dataset_dict):
        dataset_dict = copy.deepcopy(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format="BGR")
        utils.check_image_size(dataset_dict, image)
        image, transforms = T.apply_transform_gens(self.steps, image)
        gray = image.mean(axis=2, keepdims=True).repeat(3, axis=2).astype("float32")
        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(gray.transpose(2, 0, 1)))
        annotations = dataset_dict.pop("annotations", [])
        if self.is_train:
            shape = image.shape[:2]
            annotations = [
                utils.transform_instance_annotations(annotation, transforms, shape)
                for annotation in annotations
                if annotation.get("iscrowd", 0) == 0
            ]
            instances = utils.annotations_to_instances(annotations, shape)
            dataset_dict["instances"] = utils.filter_empty_instances(instances)
        return dataset_dict
