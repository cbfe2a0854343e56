"""Who may know whom: the import graph, and the few words that only one layer may say."""

import ast
import re
import sys
from pathlib import Path

import pytest

import storlever

ROOT = Path(storlever.__file__).parent
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in ROOT.rglob("*.py")
}
TREES = {name: ast.parse(file.read_text()) for name, file in FILES.items()}

# module -> the modules of ours that it may import; `web` and `tgtd` are held to more below
MAY = {
    "errors": "",
    "failpoint": "",
    "names": "",
    "model": "errors names",
    "principal": "",
    "receipt": "encoding errors token",
    "rehearsal": "change inventory model names",
    "token": "principal",
    "inventory": "errors model token",
    "change": "model",
    "observed": "change errors model",
    "document": "errors inventory model",
    "adoption": "errors model names",
    "losses": "errors inventory model",
    "plan": "change inventory model names observed",
    "backoff": "model",
    "failures": "change errors inventory model",
    "audit": "encoding inventory model principal token",
    "journal": "audit",
    "history": "audit encoding inventory schema",
    "drawer": "audit encoding receipt schema seal",
    "clock": "",
    "encoding": "",
    "throttle": "",
    "user": "errors",
    "status": "failures model",
    "warning": "inventory model names",
    "unit": "errors model",
    "alarm": "",
    "admission": "errors model names",
    "counters": "model",
    "events": "audit clock inventory model",
    "tally": "",
    "figures": "failures inventory model status tally",
    "protocols": "change model observed",
    "doubts": "errors model protocols",
    "knowledge": "alarm backoff change doubts errors events failpoint failures inventory model "
    "names observed plan protocols tally",
    "passes": "change errors failpoint failures inventory knowledge model names observed plan "
    "protocols",
    "enforcer": "change errors failpoint failures inventory model passes plan protocols",
    "sampler": "clock counters errors events inventory knowledge model",
    "keeper": "errors service",
    "loop": "errors failpoint inventory passes",
    "territory": "",
    "backing": "model territory",
    "claims": "model",
    "shelf": "backing claims errors model",
    "group": "inventory model plan",
    "backlog": "audit clock principal throttle",
    "turn": "errors",
    "writer": "audit backlog clock enforcer errors events failpoint group inventory model "
    "principal receipt rehearsal shelf turn",
    "standing": "backing errors inventory model shelf unit writer",
    "service": "admission adoption audit clock document enforcer errors figures inventory losses "
    "model principal rehearsal sampler shelf standing status token warning writer",
    "seal": "",
    "durable": "",
    "keyfile": "durable errors seal",
    "schema": "durable errors seal",
    "state": "config home journal keyfile notes store",
    "store": "audit drawer encoding errors failpoint history inventory journal model "
    "receipt schema seal token",
    "notes": "encoding errors model",
    "twins": "audit history inventory journal model receipt schema store",
    "certificate": "",
    "notify": "",
    "endpoint": "",
    "config": "endpoint errors failpoint principal",
    "logs": "",
    "home": "errors",
    "listener": "endpoint errors",
}
PURE = {
    "errors",
    "names",
    "model",
    "change",
    "inventory",
    "observed",
    "plan",
    "group",
    "document",
    "adoption",
    "losses",
    "claims",
    "backoff",
    "failures",
    "status",
    "warning",
    "principal",
    "audit",
    "admission",
    "counters",
    "encoding",
    "receipt",
    "rehearsal",
}
IMPURE = {
    "os",
    "socket",
    "time",
    "logging",
    "random",
    "secrets",
    "threading",
    "pathlib",
    "subprocess",
    "sys",
    "io",
}
WEB_ONLY = {"fastapi", "starlette", "pydantic", "anyio", "h11", "prometheus_client"}
FOR_WEB = {
    "admission",
    "audit",
    "certificate",
    "clock",
    "document",
    "encoding",
    "errors",
    "events",
    "failpoint",
    "figures",
    "inventory",
    "model",
    "names",
    "principal",
    "receipt",
    "rehearsal",
    "sampler",
    "service",
    "status",
    "tally",
    "throttle",
    "token",
    "turn",
    "unit",
    "user",
    "writer",
}
FOR_CLI = {"__init__", "audit", "config", "errors", "home", "logs", "names", "principal", "token"}
BESIDE = {"cli": "client"}
FOR_COMMANDS = {
    "cli.serve": {"assembly"},
    "cli.stopped": {"clock", "user", "inventory", "state", "store"},
    "cli.cert": {"certificate"},
}
FOR_TGTD = {"backing", "change", "endpoint", "errors", "failpoint", "model", "names", "observed"}
WRITERS = {
    "twins",  # a database in memory
    "schema",
    "store",
    "keyfile",
    "notes",
    "home",
    "listener",
    "failpoint",
    "tgtd.process",
    "cli.cert",
    "cli.streams",  # into /dev/null
}
VAGUE = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "base"}
CONCRETE = {
    "SqliteStore",
    "KeyFile",
    "FileNotes",
    "TgtdBackend",
    "SocketTransport",
    "OwnedTgtd",
    "AttachedTgtd",
}


def imported(name: str) -> set[str]:
    """Every module that it imports; `from m import n` counts as m and as m.n."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def place(name: str) -> tuple[str, str]:
    """The package that a module is in, as `tgtd/`, and its own name."""
    package, dot, _ = name.partition(".")
    return (f"{package}/" if dot else ""), name.rpartition(".")[2]


def ours(name: str) -> set[str]:
    return {each.removeprefix("storlever.") for each in imported(name)} & FILES.keys()


def others(name: str) -> set[str]:
    return {each.partition(".")[0] for each in imported(name)} - {"storlever"}


@pytest.mark.parametrize("name", MAY)
def test_a_module_knows_only_those_inward_of_it(name: str) -> None:
    assert ours(name) <= set(MAY[name].split())


def test_every_module_has_its_rule() -> None:
    flat = {name for name in FILES if "." not in name} - {"__init__", "assembly"}
    assert flat == MAY.keys()


def test_the_documentation_says_where_each_module_is() -> None:
    text = (ROOT.parents[1] / "docs" / "architecture.md").read_text().split("```")[1]
    said, entry = set[tuple[str, str]](), ""
    for head, told in re.findall(r"^(.{12})(.+)", text, re.MULTILINE):
        entry = head.strip() or entry
        package = entry if entry.endswith("/") else ""
        said |= {(package, word) for word in re.findall(r"\w+", told if package else entry)}
    assert {place(name) for name in FILES if not name.endswith("__init__")} <= said


@pytest.mark.parametrize(
    ("package", "inward"),
    [("web", FOR_WEB), ("tgtd", FOR_TGTD), ("cli", FOR_CLI), ("client", set())],
)
def test_an_edge_knows_itself_and_the_core(package: str, inward: set[str]) -> None:
    for name in FILES:
        if name.startswith(package + "."):
            near = {package, BESIDE.get(package)}
            strangers = {each for each in ours(name) if each.partition(".")[0] not in near}
            assert strangers <= inward | FOR_COMMANDS.get(name, set()), name


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_heart_does_no_io_and_needs_no_third_party_but_for_values(name: str) -> None:
    needed = {"msgspec"} | ({"immutables"} if name == "inventory" else set())
    assert others(name) - needed <= sys.stdlib_module_names - IMPURE


def test_only_the_web_imports_a_web_framework() -> None:
    known = {name for name in FILES if others(name) & WEB_ONLY}
    assert known
    assert all(name.startswith("web.") for name in known)


def test_only_the_composition_root_knows_the_concrete_classes() -> None:
    for name in FILES:
        if name in {"assembly", "state", "cli.stopped"}:
            continue
        taken = {each.rpartition(".")[2] for each in imported(name)} & CONCRETE
        assert not taken or (name.startswith("tgtd.") and taken == {"SocketTransport"}), name


def test_nothing_imports_its_tests() -> None:
    assert not any("tests" in others(name) for name in FILES)


def test_imports_stand_at_the_top() -> None:
    late = {
        name
        for name, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not late


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not {part for name in FILES for part in name.split(".")} & VAGUE


def test_only_tgtd_speaks_of_target_numbers() -> None:
    known = {name for name, file in FILES.items() if re.search(r"\btids?\b", file.read_text())}
    assert known
    assert all(name.startswith("tgtd.") for name in known)


def test_only_the_store_and_its_like_write_files() -> None:
    writing = re.compile(
        r"\.(write_text|write_bytes|pwrite|truncate|ftruncate|mkdir|rename|replace_file|unlink)\("
        r"|O_(WRONLY|RDWR|CREAT)|sqlite3\.connect|open\([^)]*[\"'][rb]*[wax+]"
    )
    assert {name for name, file in FILES.items() if writing.search(file.read_text())} == WRITERS
