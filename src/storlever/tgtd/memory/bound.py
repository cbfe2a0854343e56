"""The accounts that are bound to a target or to discovery."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from storlever.tgtd.memory.failure import Death, Refusal
from storlever.tgtd.wire import TgtError

FIRST_SLOTS = 16


@dataclass
class Bound:
    """Slots that may have holes, as tgtd keeps them."""

    slots: list[str | None] = field(default_factory=lambda: [None] * FIRST_SLOTS)
    outgoing: str | None = None
    limited: bool = False
    """Of discovery: where tgtd dies of one more than the first slots take."""

    @property
    def count(self) -> int:
        return sum(slot is not None for slot in self.slots)

    def bind(self, name: str) -> None:
        if name in self.slots:
            raise Refusal(TgtError.USER_EXISTS)
        if None not in self.slots:
            if self.limited:
                raise Death
            self.slots += [None] * len(self.slots)
        self.slots[self.slots.index(None)] = name

    def unbind(self, name: str) -> None:
        if name not in self.slots:
            raise Refusal(TgtError.NO_USER)
        self.slots[self.slots.index(name)] = None

    def bind_outgoing(self, name: str) -> None:
        if self.outgoing:
            raise Refusal(TgtError.OUTGOING_EXISTS)
        self.outgoing = name

    def unbind_outgoing(self, name: str) -> None:
        if self.outgoing != name:
            raise Refusal(TgtError.NO_USER)
        self.outgoing = None

    def forget(self, name: str) -> None:
        self.slots = [None if slot == name else slot for slot in self.slots]
        self.outgoing = None if self.outgoing == name else self.outgoing

    def visible(self) -> list[str]:
        """The first `count` slots, which is all that a login looks at."""
        return [slot for slot in self.slots[: self.count] if slot is not None]

    def shown(self) -> Iterator[str]:
        for slot in self.slots[: self.count]:
            if slot is None:
                raise Death
            yield slot
        if self.outgoing:
            yield f"{self.outgoing} (outgoing)"
