"""From files to a split, decoded data set: every stage before a model."""
