"""Requirement models and the arithmetic of solvency, on single numbers: no accounts, no columns, no I/O."""
