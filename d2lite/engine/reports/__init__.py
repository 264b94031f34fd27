"""Reports of a run: summaries, pictures, non-finite losses."""
