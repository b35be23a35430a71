"""Journals that several tests read; none changes them."""

from __future__ import annotations

import pytest

from tests.journal.postgres_servers import postgres_home, postgres_server  # noqa: F401  (fixtures)
from tests.verify.journals import built


@pytest.fixture(scope="session")
def journal(tmp_path_factory):
    """A journal of 601 records with two tiles, a dozen checkpoints and two snapshots."""
    return built(tmp_path_factory.mktemp("journal") / "house.journal", 600, snapshots=(200, 400))


@pytest.fixture(scope="session")
def short_journal(tmp_path_factory):
    """A journal of 21 records under one checkpoint."""
    return built(tmp_path_factory.mktemp("short") / "house.journal", 20)
