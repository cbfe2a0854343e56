"""One text for one value: chains and tags of earlier versions still hold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storlever.encoding import canonical

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
