"""The OpenAPI document tells the truth: of every text's grammar, of errors, of what leads where."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from storlever import names
from storlever.web.app import TABLES
from storlever.web.edge import Edge
from storlever.web.openapi import LINKS, PROBLEMS, document
from storlever.web.problem import TITLES
from storlever.web.wire import (
    ConfUpdate,
    LunUpdate,
    PasswordUpdate,
    TargetCreate,
    TargetUpdate,
    UserCreate,
)
from tests.published import published

EXACT: tuple[tuple[type[BaseModel], str], ...] = (
    (TargetCreate, "iqn"),
    (TargetUpdate, "initiator_name_list"),
    (UserCreate, "username"),
    (PasswordUpdate, "password"),
    (ConfUpdate, "incomingdiscoveryuser"),
    (ConfUpdate, "outgoingdiscoveryuser"),
    (LunUpdate, "scsi_id"),
    (LunUpdate, "scsi_sn"),
)
WIDER: tuple[tuple[type[BaseModel], str], ...] = (
    (TargetUpdate, "initiator_addr_list"),
    (LunUpdate, "path"),
)
"""Where the rule asks for more than a pattern can."""
REQUIRED: dict[type[BaseModel], dict[str, str]] = {UserCreate: {"password": "p"}}


def grammar(shape: type[BaseModel], field: str) -> dict[str, Any]:
    """The schema of a text; of an entry, where there are many."""
    schema: dict[str, Any] = shape.model_json_schema()["properties"][field]
    return dict(schema.get("items", schema))


def allowed(schema: dict[str, Any], text: str) -> bool:
    """JavaScript's $ is the very end of a text, unlike Python's."""
    never = schema.get("not", {}).get("pattern")
    return (
        re.fullmatch(schema["pattern"], text) is not None
        and len(text) <= schema.get("maxLength", len(text))
        and not (never and re.search(never, text))
    )


def taken(shape: type[BaseModel], field: str, text: str) -> bool:
    value = [text] if field.endswith("_list") else text
    try:
        shape.model_validate({**REQUIRED.get(shape, {}), field: value})
    except ValidationError:
        return False
    return True


def texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Some by the pattern, some nearly, some that have nothing to do with it."""
    good = st.from_regex(schema["pattern"])
    spoilt = st.builds(
        lambda text, at, char: text[:at] + char + text[at:],
        good,
        st.integers(0, 9),
        st.characters(),
    )
    reserved = st.sampled_from(
        [name + end for name in names.RESERVED_CHAP_NAMES for end in ("", ":x", "x")]
    )
    return good | spoilt | reserved | st.text(max_size=300)


@pytest.mark.parametrize(("shape", "field"), EXACT)
@given(data=st.data())
def test_what_is_published_of_a_text_is_the_rule(
    shape: type[BaseModel], field: str, data: st.DataObject
) -> None:
    schema = grammar(shape, field)
    text = data.draw(texts(schema))
    assert allowed(schema, text) is taken(shape, field, text)


@pytest.mark.parametrize(("shape", "field"), WIDER)
@given(data=st.data())
def test_what_is_taken_is_allowed_by_what_is_published(
    shape: type[BaseModel], field: str, data: st.DataObject
) -> None:
    schema = grammar(shape, field)
    text = data.draw(texts(schema) | st.ip_addresses().map(str) | st.just("1.2.3.4/255.0.0.0"))
    assert allowed(schema, text) or not taken(shape, field, text)


@pytest.fixture(scope="module", name="published")
def _published() -> dict[str, Any]:
    return published()


def operations(published: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation | {"method": method, "path": path}
        for path, methods in published["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_in_the_docs_is_what_is_served(published: dict[str, Any]) -> None:
    """script/openapi writes it anew."""
    file = Path(__file__).parents[2] / "docs" / "openapi.json"
    assert json.loads(file.read_text()) == published


def test_every_write_can_be_rehearsed_and_meets_conditions(published: dict[str, Any]) -> None:
    conditions = {
        "post": {"If-None-Match", "Idempotency-Key"},
        "put": {"If-Match", "If-None-Match"},
        "delete": {"If-Match", "missing_ok"},
    }
    for name, each in operations(published).items():
        said = {parameter.get("name") for parameter in each["parameters"]}
        if each["method"] != "get":
            assert said >= conditions[each["method"]] | {"dry_run"}, name
            assert "412" in each["responses"]


def test_every_status_that_an_error_has_is_said_of_some_operation(
    published: dict[str, Any],
) -> None:
    said = {status for each in operations(published).values() for status in each["responses"]}
    assert {int(status) for status in said} - {200, 201, 304} == PROBLEMS.keys()
    assert PROBLEMS.keys() == TITLES.keys() - {405}, "405 is of no operation"


def test_every_operation_has_a_short_name_of_its_own(published: dict[str, Any]) -> None:
    assert len(operations(published)) == sum(map(len, published["paths"].values()))
    assert all(re.fullmatch("[a-z_]{4,22}", name) for name in operations(published))


def test_what_is_made_leads_to_operations_that_take_it(published: dict[str, Any]) -> None:
    """OpenAPI 3.1, 4.8.20: by the operation's name, its parameters, and where their values are."""
    known = operations(published)
    makers = {name for name, each in known.items() if "201" in each["responses"]}
    assert makers == LINKS.keys()
    for maker in makers:
        body = known[maker]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        fields = published["components"]["schemas"][body.rpartition("/")[2]]["properties"]
        for link in known[maker]["responses"]["201"]["links"].values():
            parameters = known[link["operationId"]]["parameters"]
            assert {each["name"] for each in parameters if each.get("in") == "path"} == set(
                link["parameters"]
            )
            for where in link["parameters"].values():
                place, _, key = where.rpartition("/" if "#" in where else ".")
                assert (place == "$request.body#" and key in fields) or (
                    place == "$request.path" and f"{{{key}}}" in known[maker]["path"]
                )


def test_every_operation_says_which_role_it_takes_and_how_to_show_it(
    published: dict[str, Any],
) -> None:
    routes = {route.unique_id: route for table in TABLES for route in table.router.routes}  # type: ignore[attr-defined]
    closed = json.loads(document(list(routes.values()), Edge(open_loopback=False)))
    for name, each in operations(closed).items():
        assert each["x-role"] == str(routes[name].may)  # type: ignore[attr-defined]
        assert {"token": []} in each["security"]
        assert ({} in each["security"]) == (each["x-role"] == "nobody")
    assert all({} in each["security"] for each in operations(published).values())
