"""The durable command log: records chained by hash, snapshots, recovery, and proofs of what was recorded."""
