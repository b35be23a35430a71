"""Who may do what: keys, signatures, scopes, limits, and rulebooks changed by two people."""
