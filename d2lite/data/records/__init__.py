"""Dataset dicts as people give them: their faults, their checks, and one plain form."""
