"""Running it: settings, logs, metrics, and what the house checks of itself."""
