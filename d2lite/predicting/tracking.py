"""Tracker: the same number for one object in all frames of a video."""

from dataclasses import replace
from typing import Any

import numpy as np

from d2lite.utils.errors import MissingPackageError

from .result import Result

__all__ = ["Tracker"]

NOT_TRACKED = -1


class Tracker:
    """ByteTrack (Zhang et al. 2022, arXiv:2110.06864) by the package trackers.

    tracker = Tracker()
    for result in predictor.stream(frames):
        result = tracker(result)
    """

    def __init__(self, *, frame_rate: float = 30.0, begin_at: float = 0.6) -> None:
        """Begin without any track.

        Args:
            frame_rate: frames in a second.
            begin_at: the lowest score of an object that begins a track; a known object is
                followed below that too.

        Raises:
            MissingPackageError: if the package is not installed.
        """
        try:
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise MissingPackageError(
                "Tracking needs the package trackers: pip install 'd2lite[track]'"
            ) from error
        self._tracker: Any = ByteTrackTracker(
            frame_rate=frame_rate,
            track_activation_threshold=begin_at,
            high_conf_det_threshold=begin_at,
        )

    def __call__(self, result: Result) -> Result:
        """Number the objects of the next frame.

        Returns:
            The same objects with `track_ids`; -1 for one that is not in a track yet, as in the
            first frame in which it is seen.
        """
        detections = result.to_supervision()
        # The order of the objects may change; masks are not needed.
        detections.mask = None
        detections.data = {"place": np.arange(len(result))}
        tracked = self._tracker.update(detections)
        ids = np.full(len(result), NOT_TRACKED, dtype=np.int64)
        if len(tracked):
            ids[tracked.data["place"]] = tracked.tracker_id
        return replace(result, track_ids=ids)
