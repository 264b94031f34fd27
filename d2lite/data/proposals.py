"""The public address of `load_proposals_into_dataset`."""

from .records.proposals import load_proposals_into_dataset

__all__ = ["load_proposals_into_dataset"]
