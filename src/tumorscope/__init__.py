"""Tumorscope: train, evaluate and explain classifiers of brain MRI slices. Research software, not a medical device."""

__version__ = "0.1.0"

DISCLAIMER = "Research software, not a medical device. Not for diagnosis or treatment decisions."

__all__ = ["DISCLAIMER", "__version__"]
