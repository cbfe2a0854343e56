"""Answers of tgtd as nobody should give them: cut, flipped, spliced, blown up, made up."""

import random
from collections.abc import Sequence

FORGERIES = (
    b"\nTarget 1: iqn.2026-01.test:one\n",
    b"\n    LUN information:\n        LUN: 99999999999999999999\n",
    b"\n            Size: 99999999999999999999 MB\n",
    b"\n    Account information:\n        evil\n",
    b"\n    ACL information:\n        ALL\n",
    b"\n        Target 9999999999: iqn.2026-01.test:one\n",
    b"\nSession: 99999999999999999999\n    Connection: 9999999999\n        Initiator: x\n        y",
    b"\n    Account information:\n\n    evil (outgoing)\n",
    b"\nPortal: 0.0.0.0:99999999999999999999,1\n",
    b"\xff\xfe\x00\x80\xed\xb0\x80",
    b"\x1b[2J\r\n\t\x7f",
    "\u0664\u00b2\u2028".encode(),
)


LONGEST = 1 << 18
"""Bytes of an answer: what a tgtd with 250 targets shows."""


class Garbler:
    """Spoils answers; `answers` are real ones, to take pieces of."""

    def __init__(self, chance: random.Random, answers: Sequence[bytes]) -> None:
        self._chance = chance
        self._answers = tuple(answers)
        self._lines = sorted({line for answer in answers for line in answer.splitlines(True)})

    def garbled(self, answer: bytes) -> bytes:
        """Spoilt once or several times; now and then not at all, or by noise alone."""
        if self._chance.random() < 0.05:
            return self._chance.randbytes(self._chance.randrange(2000))
        for _ in range(self._chance.choice((0, 1, 1, 1, 2, 3, 8))):
            spoil = self._chance.choice(
                (self._cut, self._flip, self._splice, self._swap, self._insert, self._repeat)
            )
            answer = spoil(answer)[:LONGEST]
        return answer

    def _at(self, answer: bytes) -> int:
        return self._chance.randint(0, len(answer))

    def _cut(self, answer: bytes) -> bytes:
        start, end = sorted((self._at(answer), self._at(answer)))
        return self._chance.choice((answer[:end], answer[start:], answer[:start] + answer[end:]))

    def _flip(self, answer: bytes) -> bytes:
        spoilt = bytearray(answer)
        for _ in range(self._chance.choice((1, 1, 4, 40)) if answer else 0):
            spoilt[self._chance.randrange(len(answer))] ^= 1 << self._chance.randrange(8)
        return bytes(spoilt)

    def _splice(self, answer: bytes) -> bytes:
        other = self._chance.choice(self._answers)
        return answer[: self._at(answer)] + other[self._at(other) :]

    def _swap(self, answer: bytes) -> bytes:
        """Lines in another order."""
        lines = answer.splitlines(keepends=True)
        for _ in range(self._chance.choice((1, 3)) if lines else 0):
            one, other = self._chance.randrange(len(lines)), self._chance.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
        return b"".join(lines)

    def _insert(self, answer: bytes) -> bytes:
        at = self._at(answer)
        what = self._chance.choice(self._chance.choice((FORGERIES, self._lines)))
        return answer[:at] + what + answer[at:]

    def _repeat(self, answer: bytes) -> bytes:
        start, end = sorted((self._at(answer), self._at(answer)))
        often = self._chance.choice((2, 2, 5, 50))
        return answer[:start] + answer[start:end] * often + answer[end:]
