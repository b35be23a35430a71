"""Telling people: margin calls, liquidations, halts and the like, to webhooks, mail and chat rooms, at least once."""
