"""Counterfactual scans: tumours taken out of scans and put into others, and controls, so that no class gives away its source."""

from tumorscope.data.counterfactual.erasing import erase, place_elsewhere

__all__ = ["erase", "place_elsewhere"]
