"""The engine over the network: REST and WebSocket, keys, limits, notifications, metrics."""
