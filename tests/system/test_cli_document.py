"""Documents, revisions, foreign targets and targets.conf by command, with the real service."""

import json
from pathlib import Path

import pytest
import yaml

from storlever.cli.failure import Status
from tests.initiator import Initiator
from tests.shell import Shell
from tests.world import StorLever, image, wait_until

ONE, TWO = "iqn.2026-01.test:one", "iqn.2026-01.test:two"
PASSWORD = "a-long-password"


@pytest.fixture
def shell(emptied: StorLever) -> Shell:
    return Shell(emptied)


@pytest.fixture
def furnished(shell: Shell) -> Shell:
    """A target with a user and a LUN, and one without."""
    shell.told("target", "create", "--address", "10.0.0.1", "--address", "127.0.0.1", ONE)
    shell.told("user", "add", ONE, "joe", "--password-file", "-", typed=PASSWORD)
    shell.told("lun", "add", ONE, str(image(shell.service.root / "doc.img")), "--readonly")
    shell.told("target", "create", TWO)
    return shell


def test_what_is_exported_is_applied_again_as_json_and_as_yaml(furnished: Shell) -> None:
    for form in ("json", "yaml"):
        text = furnished.told("config", "export", "--secrets", "-o", form)
        file = furnished.service.root / "document"
        file.write_text(text)
        assert furnished.told("config", "apply", str(file), "--dry-run") == "nothing to do\n"
        furnished.told("target", "delete", ONE, "--yes")
        furnished.told("config", "apply", str(file))
        assert furnished.told("config", "export", "--secrets", "-o", form) == text


def test_a_document_without_secrets_has_none(furnished: Shell) -> None:
    text = furnished.told("config", "export")
    assert PASSWORD not in text
    assert json.loads(text)["user_list"] == [{"username": "joe"}]


def test_what_a_document_does_not_name_goes_only_if_that_is_agreed_to(furnished: Shell) -> None:
    document = json.loads(furnished.told("config", "export"))
    document["target_list"] = [each for each in document["target_list"] if each["iqn"] == ONE]
    typed = yaml.safe_dump(document)
    file = furnished.service.root / "document"
    file.write_text(typed)
    apply = ("config", "apply", str(file), "--prune", "--force")
    assert "--yes" in furnished.fails(Status.USAGE, *apply)
    status, seen = furnished.asked(*apply, typed=[("[y/N] ", "y")])
    assert status == Status.DONE, seen
    assert furnished.told("target", "list") == f"{ONE}\n"


def test_what_is_lost_is_told_before_it_is_agreed_to_and_kept_if_it_is_not(
    furnished: Shell,
) -> None:
    file = furnished.service.root / "document"
    file.write_text('{"version": 1, "target_list": []}')
    apply = ("config", "apply", str(file), "--prune")
    with Initiator(furnished.service.portal, ONE, user="joe", password=PASSWORD):
        assert "--force" in furnished.fails(Status.CONFLICT, *apply, "--yes")
        forced = (*apply, "--force")
        assert f"closes 1 session of {ONE}" in furnished.told(*forced, "--dry-run")
        said = furnished.fails(Status.USAGE, *forced)
        assert "takes 2 steps, of which hosts notice 1, and there is no terminal" in said
        status, seen = furnished.asked(*forced, typed=[("[y/N] ", "n")])
        assert status == Status.FAILED
        assert f"closes 1 session of {ONE}" in seen
        assert len(furnished.found("target", "list")) == 2
        furnished.told(*forced, "--yes")
    assert furnished.found("target", "list") == []


def test_sessions_in_the_way_of_a_document_are_named(furnished: Shell) -> None:
    text = json.dumps({"version": 1, "target_list": [{"iqn": ONE, "state": "offline"}]})
    with Initiator(furnished.service.portal, ONE, user="joe", password=PASSWORD):
        done = furnished.run("config", "apply", "-", typed=text)
    assert done.returncode == Status.CONFLICT
    assert "in the way: iqn.2026-01.test:initiator from 127.0.0.1" in done.stderr


def test_a_restore_is_agreed_to_first(furnished: Shell) -> None:
    (newest,) = furnished.found("revision", "list", "--limit", "1")
    furnished.told("target", "set", ONE, "--state", "offline")
    restore = ("revision", "restore", str(newest["revision"]))
    assert "--yes" in furnished.fails(Status.USAGE, *restore)
    status, _ = furnished.asked(*restore, typed=[("[y/N] ", "n")])
    assert status == Status.FAILED
    assert furnished.found("target", "show", ONE)["state"] == "offline"
    status, _ = furnished.asked(*restore, typed=[("[y/N] ", "yes")])
    assert status == Status.DONE
    assert furnished.found("target", "show", ONE)["state"] == "ready"


@pytest.mark.parametrize("text", ["[1]", "{", "a: [", "2026-99-99", "a: !!python/name:os.system"])
def test_what_is_no_document_is_not_begun(shell: Shell, text: str) -> None:
    assert shell.run("config", "apply", "-", typed=text).returncode in (
        Status.USAGE,
        Status.FAILED,
    )


def test_a_document_with_a_mistake_is_refused_and_names_it(shell: Shell) -> None:
    text = json.dumps({"version": 1, "target_list": [{"iqn": "no name"}]})
    done = shell.run("config", "apply", "-", typed=text)
    assert done.returncode == Status.FAILED
    assert "target_list.0.iqn" in done.stderr


def test_all_is_as_it_was_after_a_revision(furnished: Shell) -> None:
    (newest,) = furnished.found("revision", "list", "--limit", "1")
    before = furnished.told("config", "export")
    furnished.told("target", "delete", ONE, "--yes")
    assert f"target {ONE}" in furnished.told("revision", "list")
    number = str(newest["revision"])
    assert ONE in furnished.told("revision", "restore", number, "--dry-run")
    furnished.told("revision", "restore", number, "--yes")
    assert furnished.told("config", "export") == before
    assert furnished.found("revision", "show", number)["operation"] == newest["operation"]
    furnished.fails(Status.NOT_FOUND, "revision", "show", "999999999")


def test_a_target_of_somebody_elses_is_adopted_with_its_sessions(
    shell: Shell, tmp_path: Path
) -> None:
    service = shell.service
    tid = ("--tid", "77")
    path = image(service.root / "foreign.img")
    service.admin("new", "target", *tid, "-T", ONE)
    service.admin("new", "logicalunit", *tid, "--lun", "1", "-b", str(path))
    service.admin("new", "account", "--user", "joe", "--password", PASSWORD)
    service.admin("bind", "account", *tid, "--user", "joe")
    service.admin("bind", "target", *tid, "-I", "ALL")
    with Initiator(service.portal, ONE, user="joe", password=PASSWORD) as disk:
        wait_until(lambda: ONE in shell.told("foreign", "list"), 60)
        assert str(path) in shell.told("foreign", "list")
        assert "joe" in shell.fails(Status.USAGE, "adopt", ONE)
        file = tmp_path / "password"
        file.write_text(PASSWORD)
        shell.told("adopt", ONE, "--password-file", f"joe={file}")
        assert disk.ready().status == 0
    assert shell.told("target", "list") == f"{ONE}\n"
    shell.fails(Status.NOT_FOUND, "adopt", TWO)


def test_a_targets_conf_is_imported_and_exported(shell: Shell, tmp_path: Path) -> None:
    path = image(shell.service.root / "import.img")
    file = shell.service.root / "targets.conf"
    file.write_text(f"""
        <target {ONE}>
            backing-store {path}
            incominguser joe secret-of-joe
            initiator-address 127.0.0.1
            vendor_id ACME
        </target>
    """)
    said = shell.fails(Status.FAILED, "import", str(file), "--strict")
    assert f"{file}:6: not taken: vendor_id" in said
    assert shell.told("target", "list") == ""
    assert ONE in shell.told("import", str(file), "--dry-run")
    shell.told("import", str(file), "--keep-identities")
    assert shell.found("lun", "show", ONE, "1")["scsi_id"] == "IET     00010001"
    with Initiator(shell.service.portal, ONE, user="joe", password="secret-of-joe"):
        pass
    export = ("export", "--format", "targets.conf")
    shell.fails(Status.USAGE, *export)
    text = shell.told(*export, "--secrets")
    assert f"<backing-store {path}>" in text
    written = tmp_path / "targets.conf"
    written.write_text(text)
    document = json.loads(shell.told("config", "export", "--secrets"))
    again = json.loads(shell.told("import", str(written), "--print", "json"))
    assert again["target_list"] == document["target_list"]
