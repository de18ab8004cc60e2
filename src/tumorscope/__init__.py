"""Tumorscope: train, evaluate and explain classifiers of brain MRI slices. Research software, not a medical device.

import tumorscope as ts

finding = ts.load().predict("scan.png")
finding.recommended, finding.probabilities
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tumorscope.predict import Predictor

__version__ = "0.1.0"

DISCLAIMER = "Research software, not a medical device. Not for diagnosis or treatment decisions."

__all__ = ["DISCLAIMER", "__version__", "load"]


def load(model: "str | Path" = "bundled", *, engine: str = "openvino") -> "Predictor":
    """Return the predictor of a trained model; see `predict.Predictor`, which this only finds without loading it at import.

    Args:
        model: Folder of a trained model, or `bundled` for the one that comes with the package.
        engine: What runs the network: openvino, onnxruntime or torch.

    Raises:
        BundleError: The model is of another version, or its files are not the ones that belong together.
        UsageError: The engine is unknown or not installed.
    """
    from tumorscope.predict import Predictor

    return Predictor.load(model, engine=engine)
