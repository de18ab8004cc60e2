"""Where a model looked, and whether that is the tumour."""
