"""Figures and pages made from finished results; nothing is computed here that has meaning."""
