"""Test sets of images that no classifier of brain MRI should answer, made without a network connection.

Pictures come from installed packages, are drawn, or are made from scans and templates; the same seed gives the same pixels.
"""

from tumorscope.data.unfamiliar.making import SET_NAMES, SETS, unfamiliar_sets
from tumorscope.data.unfamiliar.sets import FAR, NEAR, UnfamiliarSet

__all__ = ["FAR", "NEAR", "SETS", "SET_NAMES", "UnfamiliarSet", "unfamiliar_sets"]
