"""What the longer commands do; imported when one runs, for torch takes seconds to load."""
