"""The WebSocket: snapshots and sequenced deltas, and commands on the same socket."""
