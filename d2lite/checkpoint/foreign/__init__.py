"""Names of weights in files of other libraries."""
