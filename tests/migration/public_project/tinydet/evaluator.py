from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm


class CountingEvaluator(DatasetEvaluator):
    """Counts images and detections."""

    def reset(self):
        self._counts = []

    def process(self, inputs, outputs):
        self._counts += [len(output["instances"]) for output in outputs]

    def evaluate(self):
        gathered = comm.gather(self._counts, dst=0)
        if not comm.is_main_process():
            return {}
        counts = [count for part in gathered for count in part]
        return {"count": {"images": len(counts), "detections": sum(counts)}}
