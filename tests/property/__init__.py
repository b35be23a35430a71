"""Properties that hold for every rulebook, valuation and account within the limits."""
