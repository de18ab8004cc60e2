"""The networks and the bundle that a trained one is stored in."""
