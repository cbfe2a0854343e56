"""tgtd's replies, however they come in."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storlever.tgtd.reply import MAX_REPLY, Arriving, Reply

HEADER = 8


def header(error: int, size: int) -> bytes:
    return struct.pack("=II", error, size)


def taken(*pieces: bytes) -> Reply:
    arriving = Arriving()
    for piece in pieces:
        arriving.take(piece)
    assert arriving.missing == 0
    return arriving.reply()


def test_a_reply_is_its_number_and_its_text() -> None:
    assert taken(header(0, HEADER + 6) + b"hello\0") == Reply(0, "hello")
    assert taken(header(17, HEADER)) == Reply(17, "")


def test_it_says_how_much_is_missing() -> None:
    arriving = Arriving()
    assert arriving.missing == HEADER
    for piece, missing in [(b"\0", 7), (header(0, HEADER + 6)[1:], 6), (b"he", 4), (b"llo\0", 0)]:
        arriving.take(piece)
        assert arriving.missing == missing


def test_what_comes_after_it_is_none_of_it() -> None:
    assert taken(header(0, HEADER + 2) + b"hello") == Reply(0, "he")
    assert taken(header(0, HEADER + 2), b"he", b"llo") == Reply(0, "he")


@example(0, "ä".encode(), [HEADER + 1])  # half a character
@example(0, b"a\0b", [HEADER + 2])  # text after the end, in another piece
@given(
    st.integers(0, 2**32 - 1),
    st.binary() | st.text().map(str.encode),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_any_reply_can_be_read_in_any_pieces(error: int, text: bytes, cuts: list[int]) -> None:
    """Up to the first NUL, and whatever is no UTF-8 is replaced, as if it had come at once."""
    whole = header(error, HEADER + len(text)) + text
    ends = sorted(cuts)
    pieces = [whole[start:end] for start, end in zip([0, *ends], [*ends, None], strict=True)]
    assert taken(*pieces) == Reply(error, text.split(b"\0")[0].decode("utf-8", "replace"))


@given(st.binary(min_size=HEADER, max_size=HEADER))
def test_the_size_of_any_reply_is_sane_or_refused(head: bytes) -> None:
    size = struct.unpack("=II", head)[1]
    arriving = Arriving()
    if HEADER <= size <= MAX_REPLY:
        arriving.take(head)
        assert arriving.missing == size - HEADER
        return
    with pytest.raises(ValueError, match=f"reply of {size} bytes"):
        arriving.take(head)


@pytest.mark.parametrize("size", [0, 7, MAX_REPLY + 1, 2**32 - 1])
def test_a_reply_of_nonsense_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="reply of"):
        Arriving().take(header(0, size))
