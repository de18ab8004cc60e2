"""Counterfactual scans: tumours taken out of scans and put into others, and controls, so that no class gives away its source."""

from tumorscope.data.counterfactual.erasing import erase, place_elsewhere
from tumorscope.data.counterfactual.making import (
    KINDS,
    SHARES,
    TRANSPLANTED,
    TRANSPLANTED_HEALTHY,
    Counterfactual,
    counterfactuals,
)
from tumorscope.data.counterfactual.transplanting import transplant
from tumorscope.data.counterfactual.writing import COUNTERFACTUAL, write_counterfactuals

__all__ = [
    "COUNTERFACTUAL",
    "KINDS",
    "SHARES",
    "TRANSPLANTED",
    "TRANSPLANTED_HEALTHY",
    "Counterfactual",
    "counterfactuals",
    "erase",
    "place_elsewhere",
    "transplant",
    "write_counterfactuals",
]
