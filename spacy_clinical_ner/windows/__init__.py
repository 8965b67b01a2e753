"""Notes cut into windows and batches, and where sentences end: one rule for everybody."""
