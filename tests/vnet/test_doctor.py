"""What the doctor finds, and what is wrong when something is missing."""

import contextlib
import json

import pytest

from vnet import doctor
from vnet.cli import main


def test_every_finding_says_what_it_means(capsys):
    code = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert len(findings) == len(doctor.LOOKS)
    assert code == (1 if any(each["state"] == "missing" for each in findings) else 0)
    for each in findings:
        assert each["state"] in ("ok", "missing", "optional")
        assert each["what"]
        assert each["detail"]


def test_what_is_missing_comes_with_a_remedy(monkeypatch, capsys):
    def missing(path, flags, *rest):
        raise FileNotFoundError(path)

    monkeypatch.setattr(doctor.os, "open", missing)
    finding = doctor.tun()
    assert finding.state == "missing"
    assert "mknod /dev/net/tun" in finding.remedy
    monkeypatch.setattr(doctor, "LOOKS", (lambda: finding,))
    assert main(["doctor"]) == 1
    assert "-> modprobe tun" in capsys.readouterr().out


def test_what_is_found_fits_a_terminal_and_what_helps_can_be_copied(monkeypatch, capsys):
    finding = doctor.Finding("descriptors", "optional", "word " * 30, "a remedy " * 10)
    monkeypatch.setattr(doctor, "LOOKS", (lambda: finding,))
    assert main(["doctor"]) == 0
    *told, remedy = capsys.readouterr().out.splitlines()
    assert len(told) > 1
    assert max(map(len, told)) <= 80
    assert remedy.endswith(finding.remedy)


def test_an_old_kernel_is_told(monkeypatch):
    monkeypatch.setattr(doctor.platform, "release", lambda: "5.10.0-9-amd64")
    assert doctor.kernel().state == "missing"


@pytest.mark.parametrize("command", [[], ["--help"], ["up", "--help"], ["--version"]])
def test_help_comes_with_examples(command, capsys):
    with contextlib.suppress(SystemExit):
        main(command)
    text = capsys.readouterr().out
    assert "vnet" in text
    if command != ["--version"]:
        assert "examples:" in text.lower()
