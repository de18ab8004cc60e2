"""A data set examined before anyone trains on it: copies, twins, neighbours, leaks, files and shortcuts."""
