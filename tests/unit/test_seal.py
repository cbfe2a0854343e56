"""What is sealed opens where it was sealed, with the key it was sealed with, and nowhere else."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from storlever.seal import Seal, Unsealable

KEY = bytes(range(32))
SEAL = Seal(KEY)

keys = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(codec="utf-8"))


@given(texts, texts)
def test_what_is_sealed_opens_in_its_place(secret: str, place: str) -> None:
    assert SEAL.open(SEAL.seal(secret, place), place) == secret


@given(keys, st.text(st.characters(codec="ascii"), min_size=4))
def test_the_sealed_text_is_of_form_1_and_tells_the_length_alone(key: bytes, secret: str) -> None:
    text = Seal(key).seal(secret, "here")
    form, _, content = text.partition(":")
    assert form == "v1"
    assert len(b64decode(content, validate=True)) == len(secret) + 28
    assert secret not in text


def test_the_same_secret_is_never_sealed_to_the_same_text() -> None:
    assert len({SEAL.seal("secret", "here") for _ in range(100)}) == 100


@given(texts, texts)
def test_what_was_moved_does_not_open(place: str, another: str) -> None:
    assume(place != another)
    with pytest.raises(Unsealable):
        SEAL.open(SEAL.seal("secret", place), another)


@given(keys)
def test_another_key_opens_nothing_and_has_another_mark(key: bytes) -> None:
    assume(key != KEY)
    with pytest.raises(Unsealable):
        Seal(key).open(SEAL.seal("secret", "here"), "here")
    assert Seal(key).mark != SEAL.mark


@given(st.data())
def test_a_flipped_bit_anywhere_is_noticed(data: st.DataObject) -> None:
    content = bytearray(b64decode(SEAL.seal("a secret", "here").removeprefix("v1:")))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unsealable):
        SEAL.open("v1:" + b64encode(content).decode(), "here")


@given(st.integers(0, 60))
def test_no_part_of_a_text_opens(length: int) -> None:
    whole = SEAL.seal("a secret", "here")
    assume(length < len(whole))
    with pytest.raises(Unsealable):
        SEAL.open(whole[:length], "here")


@given(st.one_of(st.text(), st.text().map("v1:{}".format), st.binary().map(b64encode).map(str)))
def test_garbled_text_raises_the_one_error_and_says_nothing_of_the_text(text: str) -> None:
    with pytest.raises(Unsealable) as caught:
        SEAL.open(text, "here")
    assert str(caught.value) == "it is damaged, or was sealed elsewhere"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Seal(bytes(size))


def test_no_repr_shows_the_key() -> None:
    assert repr(SEAL) == f"Seal({SEAL.mark})"
    assert KEY.hex() not in repr(vars(SEAL))
    assert SEAL.mark not in KEY.hex()


def test_a_mark_is_the_same_for_ever() -> None:
    """It stands in state files."""
    assert SEAL.mark == "7618a26089aedeec"


def test_what_was_sealed_once_opens_for_ever() -> None:
    """It stands in state files."""
    assert (
        SEAL.open("v1:RgYqZcUj0ljYtl54+Sq6Hl1GTgPDQBTGfcYEAfbCTXayNxV7MsvFYzaxPQ==", "account\0joe")
        == "a secret of joe"
    )
