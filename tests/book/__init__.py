"""Cases, statements and prices at which an account is lost."""
