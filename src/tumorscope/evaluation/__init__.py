"""How good a model is: predictions, metrics, intervals and the look-up baseline."""
