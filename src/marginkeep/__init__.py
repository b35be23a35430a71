"""Marginkeep: a margin-maintenance engine that keeps every leveraged account solvent, and proves that it did."""

__version__ = "0.1.0"
