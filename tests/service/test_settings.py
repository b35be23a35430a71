"""Configuration: what wins over what, what is refused and how it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from marginkeep.errors import InputError
from marginkeep.service.operations.settings import Settings
from marginkeep.service.operations.settings_reading import masked, read_settings, settings_fields, variable_of


def written(folder: Path, text: str) -> Path:
    path = folder / "marginkeep.toml"
    path.write_text(text)
    return path


def sources(explained) -> dict[str, tuple[object, str]]:
    return {one.name: (one.value, one.source) for one in explained}


def test_nothing_stated_gives_the_defaults():
    settings, explained = read_settings()
    assert settings == Settings()
    assert {one.source for one in explained} == {"default"}
    assert [one.name for one in explained] == list(settings_fields())


def test_the_environment_wins_over_the_file_and_a_flag_over_both(tmp_path):
    file = written(tmp_path, '[server]\nport = 1\nqueue_max = 7\nhost = "::1"\n')
    environment = {"MARGINKEEP_SERVER_PORT": "2", "MARGINKEEP_SERVER_HOST": "localhost", "PATH": "/bin"}
    settings, explained = read_settings(file, environment, {"server.port": 3, "journal.place": None})
    assert (settings.server.port, settings.server.host, settings.server.queue_max) == (3, "localhost", 7)
    found = sources(explained)
    assert found["server.port"] == (3, "flag")
    assert found["server.host"] == ("localhost", "environment")
    assert found["server.queue_max"] == (7, "file")
    assert found["journal.place"] == ("marginkeep.db", "default")


def test_text_of_the_environment_becomes_numbers_switches_and_lists():
    environment = {
        "MARGINKEEP_SERVER_BEHIND_TLS": "true",
        "MARGINKEEP_SERVER_TICK_SECONDS": "0.25",
        "MARGINKEEP_NOTIFICATIONS_TARGETS": "json://one  json://two",
        "MARGINKEEP_NAME": "keep",
    }
    settings, _ = read_settings(None, environment)
    assert settings.server.behind_tls is True
    assert settings.server.tick_seconds == 0.25
    assert settings.notifications.targets == ("json://one", "json://two")
    assert settings.name == "keep"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1\n", "server.prot is not a setting: did you mean server.port?"),
        ("port = 1\n", "port is not a setting: did you mean server.port?"),
        ("[sever]\nport = 1\n", "sever is not a setting: did you mean server"),
        ("server = 1\n", "server is a section: write [server]"),
        ("[server]\nport = -1\n", "server.port is -1: Expected `int` >= 0"),
        ('[server]\nport = "8470"\n', "server.port is '8470': Expected `int`, got `str`"),
        ('[logs]\nformat = "xml"\n', "logs.format is 'xml'"),
        ("[access]\nwindow_ms = 70000\n", "above access.window_ms_max 60000"),
        ("[server\n", "cannot be read"),
        ("[journal]\nxyzzy = 1\n", "see `marginkeep serve --explain`"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_cure(tmp_path, text, said):
    with pytest.raises(InputError) as refused:
        read_settings(written(tmp_path, text))
    assert said in str(refused.value)


def test_a_variable_that_is_nearly_a_setting_is_refused_and_another_programs_is_not():
    with pytest.raises(InputError, match="did you mean MARGINKEEP_JOURNAL_PLACE"):
        read_settings(None, {"MARGINKEEP_JOURNAL_PLAC": "x"})
    assert read_settings(None, {"MARGINKEEP_POSTGRES_BIN": "/bin"})[0] == Settings()


def test_a_value_out_of_bounds_in_the_environment_names_the_variable():
    with pytest.raises(InputError, match=r"MARGINKEEP_SERVER_PORT: server\.port is '70000'"):
        read_settings(None, {"MARGINKEEP_SERVER_PORT": "70000"})


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("journal.place", "postgresql://keeper:hunter2@db/keep", "postgresql://keeper:***@db/keep"),
        ("journal.place", "postgresql://db/keep?password=hunter2&user=k", "postgresql://db/keep?password=***&user=k"),
        ("journal.place", "postgresql://keeper@db/keep", "postgresql://keeper@db/keep"),
        ("journal.place", "keep.db", "keep.db"),
        ("notifications.mail", "mailtos://user:hunter2@host", "mailtos://***"),
        ("notifications.targets", ("slack://hunter2/b/c",), ("slack://***",)),
    ],
)
def test_secrets_are_masked(name, value, shown):
    assert masked(name, value) == shown


def test_a_refusal_shows_no_password(tmp_path):
    file = written(tmp_path, '[journal]\nplace = ["postgresql://k:hunter2@db/keep"]\n')
    with pytest.raises(InputError) as refused:
        read_settings(file)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", list(settings_fields()))
def test_every_setting_has_a_meaning_and_a_variable_of_its_own(name):
    assert settings_fields()[name].meaning
    assert [one for one in settings_fields() if variable_of(one) == variable_of(name)] == [name]
