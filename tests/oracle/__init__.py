"""Slow, exact answers to compare the engine with."""
