"""A small live market to try the service with."""
