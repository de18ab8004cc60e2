"""Engines: what runs a trained network. One small interface, and each heavy library imported by the one engine that needs it."""
