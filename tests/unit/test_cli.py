"""The commands without a service: what they print, where they look for one, how they end."""

import os
import re
import ssl
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from storlever.cli import advice, config, connect, output, program, reach
from storlever.cli.failure import Failure, Status
from storlever.cli.target import _edited
from storlever.client import Conflict
from storlever.client.connection import Connection
from tests import commands
from tests.terminal import at_terminal
from tests.world import STORLEVER, folder

HEAVY = {
    *("httpx2", "fastapi", "starlette", "pydantic", "uvicorn", "cryptography", "yaml"),
    *("argcomplete", "sqlite3", "asyncio", "ssl", "msgspec", "storlever.service"),
}


def told(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STORLEVER, *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "words", ["--help", "target --help", "target list --help", "doctor --help"]
)
def test_help_is_quick_for_it_brings_none_of_what_takes_long_to_import(words: str) -> None:
    script = (
        "import sys; from storlever.cli.program import main\n"
        f"try: main({words.split()})\n"
        f"finally: print(sorted({HEAVY} & {{*sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: ")
    assert done.stdout.splitlines()[-1] == "[]"


@given(st.text())
def test_whatever_a_name_holds_a_terminal_is_not_steered(name: str) -> None:
    line = output.table([{"initiator": name}], ["initiator"])[1]
    assert line.isprintable() or line == ""


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.text(), inner)
)))  # fmt: skip
def test_yaml_says_what_json_says_and_steers_no_terminal(found: Any) -> None:
    text = output.yaml(found)
    assert yaml.safe_load(text) == found
    assert set(text.replace("\n", "")) <= set(map(chr, range(0x20, 0x7F)))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (16 << 20, "16 MiB"), (1536 << 20, "1.5 GiB")],
)
def test_sizes_are_told_in_binary_units(count: int | None, shown: str) -> None:
    assert output.size(count) == shown


def test_numbers_and_sizes_stand_at_the_right_of_a_table_and_words_at_its_left() -> None:
    found = [{"lun": 1, "size": "16 MiB", "path": "/a"}, {"lun": 200, "size": "-", "path": "/bcd"}]
    assert output.table([*found], ["lun", "size", "path", "reason"]) == [
        "LUN    SIZE  PATH  REASON",
        "  1  16 MiB  /a    -",
        "200       -  /bcd  -",
    ]
    assert output.table([], ["lun"]) == ["LUN"]


# -- where the service is


def options(*arguments: str, **environment: str) -> dict[str, Any]:
    parser = ArgumentParser()
    reach.add_flags(parser)
    return reach.options(parser.parse_args(arguments), environment)


def test_flags_come_before_the_environment_and_the_usual_socket_last(tmp_path: Path) -> None:
    said = {"STORLEVER_URL": "http://127.0.0.1:1", "STORLEVER_SOCKET": "/a"}
    assert options("--url", "http://127.0.0.1:2", **said)["url"] == "http://127.0.0.1:2"
    assert options("--socket", "/b", **said)["socket"] == Path("/b")
    assert options("--state-dir", "/c", **said)["socket"] == Path("/c/run/api.sock")
    assert options(**said)["url"] == "http://127.0.0.1:1"
    assert options(STORLEVER_SOCKET="/a")["socket"] == Path("/a")
    nowhere = options(STORLEVER_STATE_DIR=str(tmp_path))
    assert (nowhere["socket"], nowhere["url"]) == (None, reach.URL)


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-file\n")
    assert options("--token-file", str(file), STORLEVER_TOKEN="other")["token"] == "of-file"
    assert options(STORLEVER_TOKEN_FILE=str(file))["token"] == "of-file"
    assert options(STORLEVER_TOKEN="other")["token"] == "other"
    for content in ("", "two\nlines", "é"):
        file.write_text(content)
        with pytest.raises(Failure):
            options("--token-file", str(file))


def test_a_token_does_not_cross_a_network_in_the_clear() -> None:
    plain = ("--url", "http://10.0.0.5:6543")
    with pytest.raises(Failure) as caught:
        options(*plain, STORLEVER_TOKEN="t")
    assert caught.value.status == Status.USAGE
    assert options(*plain, "--insecure-no-tls", STORLEVER_TOKEN="t")["token"] == "t"
    for url in ("https://10.0.0.5:6543", "http://localhost:1", "http://[::1]:1"):
        assert options("--url", url, STORLEVER_TOKEN="t")["token"] == "t"


# -- how it ends


def test_a_service_that_is_not_there_is_said_with_what_to_do() -> None:
    with folder() as path:
        done = told("target", "list", "--socket", str(path / "none"))
    assert done.returncode == Status.UNAVAILABLE
    assert f"does not answer: {path}/none: " in done.stderr
    assert "--url" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("target",),
        ("target", "lists"),
        ("target", "list", "--token", "secret"),
        ("lun", "add", "iqn.x", "/a", "--lun", "one"),
        ("user", "add", "iqn.x", "joe"),
        ("target", "list", "--url", "gopher://x"),
        ("target", "list", "--token-file", "/nowhere"),
        ("target", "list", "--url", "https://localhost:1", "--ca-file", "/nowhere"),
        ("target", "list", "--socket", "/a", "--url", "http://b"),
        ("conf", "set"),
        ("config", "apply", "/nowhere"),
        ("import", "/nowhere"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_begun_ends_with_2_and_a_sentence(arguments: tuple[str, ...]) -> None:
    done = told(*arguments)
    assert done.returncode == Status.USAGE, done
    assert done.stderr.startswith(("storlever: ", "usage: "))
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("cause", "barrier"),
    [
        (PermissionError(13, "Permission denied"), "permission"),
        (ssl.SSLCertVerificationError("x"), "certificate"),
        (ConnectionRefusedError(111, "refused"), ""),
    ],
)
def test_what_keeps_a_command_from_the_service_is_called_what_it_is(
    cause: OSError, barrier: str
) -> None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        cause.verify_message = "self-signed certificate"
    error = RuntimeError("no connection")
    error.__cause__ = cause
    found = Connection("https://joe:secret@host:1").unreachable(error)
    assert found.barrier == barrier
    assert str(found).startswith("https://host:1: ")


@pytest.mark.parametrize("closed", [">&-", ">/dev/full"])
def test_output_that_cannot_be_written_is_told_in_a_line(closed: str) -> None:
    line = f"{STORLEVER} completion bash {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == Status.FAILED
    assert re.fullmatch("storlever: cannot write the output: .*\n", done.stderr)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&- >&-"])
def test_closed_streams_are_no_fault_where_they_are_not_needed(closed: str) -> None:
    line = f"{STORLEVER} target list --url gopher://x {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == Status.USAGE
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_state_folder_that_cannot_be_looked_into_is_told_in_a_line() -> None:
    done = told("token", "list", "--state-dir", "/" + "a" * 300)  # as with one of somebody else
    assert done.returncode == Status.USAGE
    assert re.fullmatch("storlever: cannot use the state folder .*\n", done.stderr)


def test_no_password_at_the_prompt_is_told_in_a_line() -> None:
    words: list[str | Path] = [
        STORLEVER,
        "user",
        "add",
        "iqn.x",
        "joe",
        "--url",
        "http://127.0.0.1:1",
    ]
    status, seen = at_terminal(words, [("for joe: ", "\x04")], {"PATH": os.environ["PATH"]})
    assert status == Status.USAGE
    assert "no password; nothing was done" in seen


def test_who_waits_at_a_terminal_sees_for_how_long_and_nobody_else_does(tmp_path: Path) -> None:
    nobody_there = ["target", "list", "--socket", str(tmp_path / "none"), "--wait", "2.5"]
    status, seen = at_terminal([STORLEVER, *nobody_there], [], {"PATH": os.environ["PATH"]})
    assert status == Status.UNAVAILABLE
    line = r"\rstorlever: waiting for the service, \d+ s"
    assert re.match(rf"({line})+\r +\rstorlever: (?!waiting)", seen), seen
    assert "waiting" not in told(*nobody_there).stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "soon"])
def test_how_long_to_wait_is_a_number(seconds: str) -> None:
    done = told("target", "list", f"--wait={seconds}")
    assert done.returncode == Status.USAGE
    assert "--wait: must be a number of seconds, 0 or more" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [secret\nb: }", "line 2, column 2: "),
        ("a: \x01", "special characters are not allowed"),
    ],
)
def test_a_broken_yaml_is_told_in_a_line_and_not_repeated(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(text)
    with pytest.raises(Failure) as caught:
        config.read(str(file))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_told_in_lines_is_printed_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    program._explain(Failure("takes 2 steps\n  a\n  b"), Namespace())
    assert capsys.readouterr().err == "".join(
        f"storlever: {line}\n" for line in ("takes 2 steps", "  a", "  b")
    )


def test_nothing_that_can_be_taken_of_a_targets_conf_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "targets.conf"
    name = "x" * 300
    file.write_text(
        f"nonsense 1\n<target {name}>\n</target>\nother 2\n"
        "<target iqn.2026-01.test:b>\nwhat 1\nstate bad\n</target>\n"
    )
    done = told("import", str(file), "--print", "json")
    assert done.returncode == Status.FAILED
    *found, last = done.stderr.splitlines()
    numbers = [int(line.split(":")[1]) for line in found]
    assert numbers == sorted(numbers)
    assert len(numbers) > 2
    assert max(map(len, done.stderr.replace(str(tmp_path), "").split())) <= 81  # and a colon
    assert "can be taken, so nothing was" in last
    file.write_bytes(b"<target\0")
    done = told("import", str(file))
    assert done.returncode == Status.USAGE
    assert "is no text" in done.stderr


def test_what_a_request_could_say_is_left_to_the_advice() -> None:
    said = {
        "sessions-active": "target x has sessions; say force=true to close them",
        "backing-store-in-use": 'a; b; say "shared": true to serve it twice',
        "lun-busy": "commands are in flight; look",
    }
    told = [program._worded(Conflict(409, code, detail)) for code, detail in said.items()]
    assert told == ["target x has sessions", "a; b", "commands are in flight; look"]


def test_every_advice_is_about_a_code_that_exists() -> None:
    codes = {
        word
        for line in Path("docs/errors.md").read_text().splitlines()
        if line.startswith("| ")
        for word in line.split("|")[2].replace("`", " ").split()
    }
    assert advice.LACKING.keys() <= advice.ADVICE.keys() <= codes


def test_advice_speaks_of_no_flag_that_the_command_does_not_have() -> None:
    shared = advice.advice("backing-store-in-use", Namespace(shared=None))
    assert shared == "say --shared to serve it twice"
    for code in advice.LACKING:
        told = advice.advice(code, Namespace())
        assert told
        assert "--" not in told or "storlever user set-password --everywhere" in told


def test_a_rehearsal_that_is_refused_is_not_advised_to_rehearse() -> None:
    told = advice.advice("too-much-removed", Namespace(dry_run=True, force=False))
    assert told == "if it shall be so, say --force"


# -- how to log in


TARGET = {"iqn": "iqn.2026-01.test:one", "incominguser_list": [], "outgoinguser_list": []}


def test_the_lines_to_log_in_name_target_portal_and_users() -> None:
    users = {"incominguser_list": ["joe"], "outgoinguser_list": ["tim"]}
    text = "\n".join(connect.lines({**TARGET, **users}, ["10.0.0.1:3260"]))
    for line in (
        "iscsiadm -m discovery -t sendtargets -p 10.0.0.1:3260",
        "--op update -n node.session.auth.username -v joe",
        "--op update -n node.session.auth.username_in -v tim",
        "New-IscsiTargetPortal -TargetPortalAddress 10.0.0.1 -TargetPortalPortNumber 3260",
        "-AuthenticationType ONEWAYCHAP -ChapUsername 'joe'",
        "--authname=joe",
        "iscsi://joe%PASSWORD@10.0.0.1:3260/iqn.2026-01.test:one/1",
    ):
        assert line in text


def test_without_users_no_line_speaks_of_passwords() -> None:
    text = "\n".join(connect.lines(TARGET, []))
    assert connect.NO_PORTAL in text
    assert "PASSWORD" not in text


def test_a_portal_of_every_address_is_one_where_the_service_is_asked() -> None:
    portals = ["0.0.0.0:3260", "[::]:3260", "10.0.0.1:3261"]
    assert connect.reachable(portals, "san") == ("san:3260", "10.0.0.1:3261")
    assert connect.reachable(portals[1:2], "fe80::1") == ("[fe80::1]:3260",)


# -- lists


@pytest.mark.parametrize(
    ("said", "more", "less", "is_now"),
    [
        (None, None, None, None),
        (["c"], None, None, ["c"]),
        (None, ["c"], None, ["a", "b", "c"]),
        (None, ["a"], ["b"], ["a"]),
        (["c"], ["d"], ["c"], ["d"]),
    ],
)
def test_a_list_is_replaced_or_edited(
    said: list[str] | None, more: list[str] | None, less: list[str] | None, is_now: Any
) -> None:
    arguments = Namespace(add_address=more, remove_address=less)
    assert _edited(said, ["a", "b"], arguments, "address") == is_now


@pytest.mark.parametrize(
    ("words", "entries"),
    [
        ("--address a iqn.x", ["a"]),
        ("--address a iqn.x --address b", ["a", "b"]),
        ("iqn.x --address", []),
        ("iqn.x", None),
    ],
)
def test_a_flag_of_a_list_takes_one_entry_and_leaves_the_target_its_name(
    words: str, entries: list[str] | None
) -> None:
    found = program._parser("target").parse_args(["target", "create", *words.split()])
    assert (found.iqn, found.address) == ("iqn.x", entries)


def test_what_is_not_in_a_list_cannot_be_taken_out() -> None:
    with pytest.raises(Failure):
        _edited(None, ["a"], Namespace(add_address=None, remove_address=["b"]), "address")


def test_every_command_has_a_module() -> None:
    for name in program.COMMANDS:
        assert f"storlever {name}" in told(name, "--help").stdout


def test_the_reference_tells_of_every_command_and_flag() -> None:
    assert commands.FILE.read_text() == commands.text(), "run script/generate"
