"""Rulebooks: reading, checking, hashing, limits."""
