"""Who uses which backing store: any sequence of claims, beside a plain table."""

from hypothesis import given
from hypothesis import strategies as st

from storlever.claims import Claims

ONE, TWO = ("iqn.2014-09.com.example:one", 1), ("iqn.2014-09.com.example:two", 1)

PLACES = st.tuples(st.sampled_from("ab"), st.integers(1, 2))
KEYS = st.lists(st.sampled_from("pqrs"), max_size=3)


def test_a_store_that_another_lun_uses_is_found_by_any_of_its_keys() -> None:
    claims = Claims()
    claims.put(ONE, ("/srv/a.img", "file 1:2"))
    assert claims.others(TWO, ("/dev/other/path", "file 1:2")) == [ONE]
    assert claims.others(TWO, ("/srv/a.img",)) == [ONE]
    assert claims.others(TWO, ("/srv/b.img",)) == []


def test_a_lun_is_not_in_its_own_way() -> None:
    claims = Claims()
    claims.put(ONE, ("/srv/a.img",))
    assert claims.others(ONE, ("/srv/a.img",)) == []


def test_a_lun_holds_the_keys_of_its_last_claim() -> None:
    claims = Claims()
    claims.put(ONE, ("/srv/a.img",))
    claims.put(ONE, ("/srv/b.img", "file 1:2"))
    held = [key for key in ("/srv/a.img", "/srv/b.img", "file 1:2") if claims.hold(ONE, key)]
    assert held == ["/srv/b.img", "file 1:2"]
    assert not claims.hold(TWO, "/srv/b.img")


@given(st.lists(st.tuples(PLACES, KEYS)), PLACES, KEYS)
def test_the_last_claim_of_a_place_is_the_one_that_counts(
    puts: list[tuple[tuple[str, int], list[str]]], asking: tuple[str, int], keys: list[str]
) -> None:
    """`put` with no keys lets go, and a place is told once, however many keys it shares."""
    claims = Claims()
    table: dict[tuple[str, int], list[str]] = {}
    for place, claimed in puts:
        claims.put(place, iter(claimed))
        table[place] = claimed
    expected = sorted(
        place for place, claimed in table.items() if place != asking and set(claimed) & set(keys)
    )
    assert claims.others(asking, iter(keys)) == expected
