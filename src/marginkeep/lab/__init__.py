"""Replays, stress, reports: the same engine over history and imagination."""
