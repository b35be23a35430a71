"""From many quotes to index and mark prices, each with a quality that says which actions may use it."""
