"""The files in deploy/ fit the service: settings parse, and every metric that a chart or an alert names exists."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from marginkeep.cli import command
from marginkeep.journal.memory_log import MemoryLog
from marginkeep.journal.record import Genesis
from marginkeep.service.demo.rules import DEMO_RULES
from marginkeep.service.operations.settings import JournalSettings, Settings
from marginkeep.service.operations.settings_reading import settings_fields
from marginkeep.service.running import close_context, open_context

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "marginkeep.json"
RULES = DEPLOY / "prometheus" / "rules.yml"
UNIT = DEPLOY / "systemd" / "marginkeep.service"
METRIC = re.compile(r"\b(?:marginkeep|process)_[a-z_]+")
OVER_TIME = re.compile(r"\b(rate|increase|delta|changes)\(([a-z_]+)")
LABEL = re.compile(r'\b([a-z_]+)(?:=|!=|=~|!~)"')


@pytest.fixture(scope="module")
def text() -> str:
    """What a service answers to Prometheus."""
    log = MemoryLog()
    log.create(Genesis(name="test", rules=DEMO_RULES, created_ns=1))
    context = open_context(Settings(journal=JournalSettings(place="memory")), log=log)
    try:
        exposed: str = context.parts["metrics"].text().decode()
        return exposed
    finally:
        close_context(context)


@pytest.fixture(scope="module")
def kinds(text) -> dict[str, str]:
    """Every series that a service exposes, and whether it only ever grows."""
    found = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + ending: "counter" if kind == "histogram" else kind for ending in endings}
    return found


@pytest.fixture(scope="module")
def families(text, kinds) -> dict[str, set[str]]:
    """Every series that a service exposes, with the labels it has."""
    labels = {line.split("{")[0]: set(re.findall(r'([a-z_]+)="', line)) for line in text.splitlines() if line[0] != "#"}
    return {name: labels.get(name, set()) for name in kinds}


def dashboard_expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def alert_expressions() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("expression", dashboard_expressions() + alert_expressions())
def test_every_metric_that_is_named_exists(families, expression):
    named = METRIC.findall(expression)
    assert named or expression.startswith("up{")
    missing = [name for name in named if name not in families]
    assert not missing, f"{expression}: the service has no {', '.join(missing)}"


def test_the_dashboard_leaves_no_metric_of_the_service_out(families):
    text = " ".join(dashboard_expressions() + alert_expressions())
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in families if name.startswith("marginkeep_")}
    assert names - shown <= {"marginkeep_build", "marginkeep_house_time_seconds"}


@pytest.mark.parametrize("expression", dashboard_expressions() + alert_expressions())
def test_what_only_grows_is_asked_for_its_rate_and_what_may_fall_for_its_difference(kinds, expression):
    """Prometheus takes each fall of what it is told to rate for a restart, and counts all that is left as new."""
    for function, name in OVER_TIME.findall(expression):
        assert kinds[name] == ("counter" if function in ("rate", "increase") else "gauge"), name


def test_labels_in_selectors_exist(families):
    for expression in dashboard_expressions() + alert_expressions():
        for name, selector in re.findall(r"(marginkeep_[a-z_]+)\{([^}]*)\}", expression):
            if families[name]:
                assert set(LABEL.findall(selector)) <= families[name], expression


def test_the_dashboard_is_provisioned_and_its_panels_do_not_overlap():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/marginkeep.yml").read_text())
    assert provider["providers"][0]["type"] == "file"
    uid = source["datasources"][0]["uid"]
    assert all(target["datasource"]["uid"] == uid for panel in panels for target in panel.get("targets", ()))
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_prometheus_scrapes_the_route_and_reads_the_rules():
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert config["rule_files"] == [RULES.name]
    (job,) = config["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("marginkeep", "/v1/metrics")
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{Settings().server.port}"]


def test_every_alert_says_what_to_do():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        assert group.keys() == {"name", "rules"}
        for rule in group["rules"]:
            assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}, rule["alert"]
            assert re.fullmatch("[0-9]+(s|m|h)", rule.get("for", "0s")), rule["alert"]
            assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
            assert rule["annotations"]["summary"], rule["alert"]
            assert rule["annotations"]["description"], rule["alert"]


def test_the_example_settings_are_accepted():
    done = CliRunner().invoke(command, ["serve", "--config", str(DEPLOY / "marginkeep.toml"), "--explain", "--json"])
    assert done.exit_code == 0, done.output
    stated = [one["name"] for one in json.loads(done.output)["settings"] if one["source"] == "file"]
    assert "server.metrics_token" in stated
    assert set(stated) <= set(settings_fields())


def test_the_unit_starts_the_command_and_waits_for_its_word():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNIT)
    service = unit["Service"]
    assert " serve --config " in service["ExecStart"]
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
    hardened = ("NoNewPrivileges", "ProtectSystem", "PrivateTmp", "RestrictAddressFamilies", "CapabilityBoundingSet")
    assert all(name in service for name in hardened)
    assert "StartLimitBurst" in unit["Unit"]
    assert service.get("ProcSubset", "all") == "all", "without /proc/stat there are no metrics of the process"


def test_the_unit_states_nothing_twice_but_its_filters():
    stated = [line.partition("=")[0] for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#"]
    assert {key for key in stated if stated.count(key) > 1} == {"SystemCallFilter"}


def test_systemd_finds_nothing_to_object_to_in_the_unit(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    done = subprocess.run([program, "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60)
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


@pytest.mark.parametrize(("kind", "file"), [("rules", "rules.yml"), ("config", "prometheus.yml")])
def test_prometheus_reads_its_files(kind, file):
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [program, "check", kind, str(RULES.with_name(file))], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
