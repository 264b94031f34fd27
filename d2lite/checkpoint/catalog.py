"""`catalog://...`: short addresses of the weights that Detectron, the Caffe2 one, published."""

from typing import IO, Any, ClassVar

from d2lite.utils.errors import UnknownModelError
from d2lite.utils.file_io import PathHandler, PathManager

__all__ = ["ModelCatalog", "ModelCatalogHandler"]


class ModelCatalog:
    """Names of published models and their addresses."""

    S3_C2_DETECTRON_PREFIX = "https://dl.fbaipublicfiles.com/detectron"

    # Backbones trained on ImageNet: name -> file below ImageNetPretrained/.
    C2_IMAGENET_MODELS: ClassVar[dict[str, str]] = {
        "MSRA/R-50": "ImageNetPretrained/MSRA/R-50.pkl",
        "MSRA/R-101": "ImageNetPretrained/MSRA/R-101.pkl",
        "FAIR/R-50-GN": "ImageNetPretrained/47261647/R-50-GN.pkl",
        "FAIR/R-101-GN": "ImageNetPretrained/47592356/R-101-GN.pkl",
        "FAIR/X-101-32x8d": "ImageNetPretrained/20171220/X-101-32x8d.pkl",
        "FAIR/X-101-64x4d": "ImageNetPretrained/FBResNeXt/X-101-64x4d.pkl",
        "FAIR/X-152-32x8d-IN5k": "ImageNetPretrained/25093814/X-152-32x8d-IN5k.pkl",
    }

    C2_DETECTRON_PATH_FORMAT = "{prefix}/{url}/output/train/{dataset}/{type}/model_final.pkl"
    C2_DATASET_COCO = "coco_2014_train%3Acoco_2014_valminusminival"
    C2_DATASET_COCO_KEYPOINTS = "keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival"

    # Whole detectors: name -> folder. A folder's last part is the run's configuration and date.
    C2_DETECTRON_MODELS: ClassVar[dict[str, str]] = {
        "35857197/e2e_faster_rcnn_R-50-C4_1x": "35857197/12_2017_baselines/"
        "e2e_faster_rcnn_R-50-C4_1x.yaml.01_33_49.iAX0mXvW",
        "35857345/e2e_faster_rcnn_R-50-FPN_1x": "35857345/12_2017_baselines/"
        "e2e_faster_rcnn_R-50-FPN_1x.yaml.01_36_30.cUF7QR7I",
        "35857890/e2e_faster_rcnn_R-101-FPN_1x": "35857890/12_2017_baselines/"
        "e2e_faster_rcnn_R-101-FPN_1x.yaml.01_38_50.sNxI7sX7",
        "35858791/e2e_mask_rcnn_R-50-C4_1x": "35858791/12_2017_baselines/"
        "e2e_mask_rcnn_R-50-C4_1x.yaml.01_45_57.ZgkA7hPB",
        "35858933/e2e_mask_rcnn_R-50-FPN_1x": "35858933/12_2017_baselines/"
        "e2e_mask_rcnn_R-50-FPN_1x.yaml.01_48_14.DzEQe4wC",
        "35861795/e2e_mask_rcnn_R-101-FPN_1x": "35861795/12_2017_baselines/"
        "e2e_mask_rcnn_R-101-FPN_1x.yaml.02_31_37.KqyEK4tT",
        "37697547/e2e_keypoint_rcnn_R-50-FPN_1x": "37697547/12_2017_baselines/"
        "e2e_keypoint_rcnn_R-50-FPN_1x.yaml.08_42_54.kdzV35ao",
    }

    @staticmethod
    def get(name: str) -> str:
        """Return the address of a model.

        Args:
            name: "ImageNetPretrained/NAME" or "Caffe2Detectron/COCO/NAME".

        Raises:
            UnknownModelError: if there is no such model; the message lists the known ones.
        """
        catalog = ModelCatalog
        kind, _, model = name.partition("/")
        if kind == "ImageNetPretrained" and model in catalog.C2_IMAGENET_MODELS:
            return f"{catalog.S3_C2_DETECTRON_PREFIX}/{catalog.C2_IMAGENET_MODELS[model]}"
        model = model.removeprefix("COCO/")
        if kind == "Caffe2Detectron" and model in catalog.C2_DETECTRON_MODELS:
            has_keypoints = "keypoint" in model
            return catalog.C2_DETECTRON_PATH_FORMAT.format(
                prefix=catalog.S3_C2_DETECTRON_PREFIX,
                url=catalog.C2_DETECTRON_MODELS[model],
                dataset=catalog.C2_DATASET_COCO_KEYPOINTS
                if has_keypoints
                else catalog.C2_DATASET_COCO,
                type="generalized_rcnn",
            )
        known = [f"ImageNetPretrained/{n}" for n in catalog.C2_IMAGENET_MODELS]
        known += [f"Caffe2Detectron/COCO/{n}" for n in catalog.C2_DETECTRON_MODELS]
        raise UnknownModelError(
            f"The catalogue has no model {name!r}. It has: {', '.join(known)}. Others are given by "
            "their whole address (https://...)."
        )


class ModelCatalogHandler(PathHandler):  # type: ignore[misc]  # iopath ships no types
    """`catalog://NAME`: what `ModelCatalog` knows."""

    PREFIX = "catalog://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _address(self, path: str) -> str:
        return ModelCatalog.get(path.removeprefix(self.PREFIX))

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(PathManager.get_local_path(self._address(path), force=force, **kwargs))

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        opened: IO[Any] = PathManager.open(self._address(path), mode, buffering, **kwargs)
        return opened


PathManager.register_handler(ModelCatalogHandler())
