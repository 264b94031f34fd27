"""Options that follow from facts of the data and of the machine."""
