"""One text for one value: chains and tags of earlier versions still hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storlever.encoding import canonical, decoded, encoded
from storlever.model import Target
from tests.unit.strategies import targets

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def pythons(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@given(VALUES)
def test_the_canonical_text_is_what_python_makes(value: object) -> None:
    assert canonical(value) == pythons(value)


@pytest.mark.parametrize("text", ["\x7f", "\x7fä", "\u2028", "\ud800", "a\udcff"])
def test_what_json_escapes_though_it_need_not_is_escaped_as_ever(text: str) -> None:
    assert canonical({text: [text]}) == pythons({text: [text]})


@given(targets())
def test_what_is_written_is_read(target: Target) -> None:
    assert decoded(encoded(target), Target) == target


@pytest.mark.parametrize("text", ["\ud800", "user:j\udcf6rg"])
def test_half_a_character_does_not_keep_a_commit_from_being_told_of(text: str) -> None:
    assert json.loads(encoded({"who": text})) == {"who": text}


@pytest.mark.parametrize(
    "text",
    [
        '{"name":"bob","secret":"sealed"}',
        '{"name":"bob"}',
        encoded(Target("bob"))[:-1] + ',"more":1}',
    ],
)
def test_what_has_not_just_the_fields_of_its_kind_is_not_taken_for_one(text: str) -> None:
    """A damaged file may have the rows of another table in the place of its own."""
    with pytest.raises(ValueError, match="is no Target"):
        decoded(text, Target)
