"""Real services for the client to speak to: the fixtures of the service's own tests, and clients."""

import pytest

from marginkeep.client import Client
from tests.service.conftest import VENUE, running_service, start_service

__all__ = ["running_service", "start_service"]


@pytest.fixture
def client(running_service):
    """A blocking client with the venue's key, of a service with a mark and three people with 10,000 USD."""
    with Client(running_service.url, running_service._keys[VENUE]) as made:
        made.set_prices({"BTC-PERP": "50000"})
        for name in ("ann", "bob", "carol"):
            made.deposit(name, "USD", "10000")
        yield made
