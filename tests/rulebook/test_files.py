"""Rulebook files: TOML and JSON mean the same, and what cannot be read is refused with its name and place."""

import pytest

from marginkeep.errors import InputError, RulebookError
from marginkeep.rulebook import load_rulebook, parse_file, read_rulebook, rulebook_hash
from marginkeep.rulebook.reading import parse_text
from tests.rulebook.house import JSON, TOML


def test_toml_and_json_forms_of_a_rulebook_are_the_same_rulebook_with_the_same_hash(tmp_path):
    (tmp_path / "a.toml").write_text(TOML)
    (tmp_path / "b.JSON").write_text(JSON)
    toml, json_ = load_rulebook(tmp_path / "a.toml"), load_rulebook(tmp_path / "b.JSON")
    assert toml == json_
    assert rulebook_hash(toml) == rulebook_hash(json_)


@pytest.mark.parametrize(
    ("form", "text"), [(".toml", "nan"), (".toml", "-inf"), (".json", "NaN"), (".json", "Infinity")]
)
def test_a_bare_not_a_number_of_the_file_format_is_refused_by_the_field_that_holds_it(form, text):
    source = (
        TOML.replace('"0.001"\ntick', f"{text}\ntick")
        if form == ".toml"
        else JSON.replace('"lot": 0.001', f'"lot": {text}')
    )
    with pytest.raises(RulebookError, match=rf"markets\.BTC-PERP\.lot is '{text}': give a finite decimal"):
        read_rulebook(parse_text(source, form, "x"))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.toml", "a = ", ["x.toml is not valid TOML", "Invalid value"]),
        ("x.toml", "a = 1\na = 2", ["x.toml is not valid TOML", "overwrite"]),
        ("x.json", "{", ["x.json is not valid JSON", "line 1"]),
        ("x.json", '{"assets": {"USD": {}, "USD": {}}}', ["x.json is not valid JSON", "'USD' stands twice"]),
        ("x.json", "[" * 100_000, ["x.json is not valid JSON", "recursion"]),
        ("x.toml", "a = " + "[" * 100_000, ["x.toml is not valid TOML", "recursion"]),
        ("x.json", '{"a": ' + "1" * 5000 + "}", ["x.json is not valid JSON", "5000 digits"]),
        ("x.yaml", "a: 1", ["x.yaml has suffix .yaml: use .toml or .json"]),
        ("x", "a = 1", ["x has suffix none: use .toml or .json"]),
        ("x.json", "[1]", ["x.json is [1]: give a table of named fields"]),
    ],
)
def test_a_malformed_file_is_refused_with_its_name_and_place(tmp_path, name, text, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RulebookError) as caught:
        parse_file(path)
    for word in words:
        assert word in str(caught.value)


def test_an_unreadable_file_is_refused_with_the_reason(tmp_path):
    with pytest.raises(RulebookError, match=r"absent\.toml cannot be read: No such file"):
        load_rulebook(tmp_path / "absent.toml")
    with pytest.raises(RulebookError, match="cannot be read: Is a directory"):
        load_rulebook(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(RulebookError, match=r"latin\.toml cannot be read: .*utf-8"):
        load_rulebook(tmp_path / "latin.toml")


@pytest.mark.parametrize(("form", "text"), [(".toml", "a = {}"), (".json", '{{"a": {}}}')])
def test_an_exponent_beyond_any_number_is_refused(form, text):
    with pytest.raises(InputError, match=r"x is not valid \w+: the exponent of 1e9+ is beyond"):
        parse_text(text.format("1e99999999999999999999"), form, "x")
