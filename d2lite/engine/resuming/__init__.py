"""What a run resumes from, and whether it fits."""
