"""The public address of `collecting_faults`."""

from .records.faults import Fault, FaultLog, collecting_faults, reading_faults

__all__ = ["Fault", "FaultLog", "collecting_faults", "reading_faults"]
