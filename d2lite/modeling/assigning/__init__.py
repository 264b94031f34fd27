"""Which predictions of a dense detector learn which object."""

from .dynamic import Assignment, best_per_object
from .grid import CellAssignment, assign_in_cells
from .learners import Learners, learners_of
from .sim_ota import assign_by_sim_ota
from .soft_label import assign_by_soft_labels
from .statistics import assign_by_statistics
from .task_aligned import assign_by_alignment

__all__ = [
    "Assignment",
    "CellAssignment",
    "Learners",
    "assign_by_alignment",
    "assign_by_sim_ota",
    "assign_by_soft_labels",
    "assign_by_statistics",
    "assign_in_cells",
    "best_per_object",
    "learners_of",
]
