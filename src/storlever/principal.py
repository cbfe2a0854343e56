"""Who asks, and what may be asked of whom."""

from enum import IntEnum

from msgspec import Struct


class Role(IntEnum):
    """What somebody may do; each role may do all that the ones before it may.

    NOBODY is the role of who did not say who they are: health, and the documentation. READER:
    every GET of the state. OPERATOR: everything on targets, users and LUNs. ADMIN: also
    tokens, and a backing store that the machine itself uses.
    """

    NOBODY = 0
    READER = 1
    OPERATOR = 2
    ADMIN = 3

    @classmethod
    def parse(cls, text: str) -> "Role":
        """The role of a name, in lower case. Raises ValueError."""
        names = {role.name.lower(): role for role in cls if role}
        if text not in names:
            raise ValueError(f"the role must be one of {', '.join(names)}")
        return names[text]

    def __str__(self) -> str:
        return self.name.lower()


NOBODY = "nobody"
"""The name of who did not say who they are."""


class Principal(Struct, frozen=True):
    """`name` says how they proved it: token:NAME, certificate:NAME, user:NAME (of a Unix socket's
    peer), loopback, or NOBODY. `address`: where from, "" for a Unix socket."""

    name: str
    role: Role
    address: str = ""
    digest: str = ""
    """Of the token, where it is one: it may be revoked before what it asks for is done."""

    def __repr__(self) -> str:
        return f"Principal(name={self.name!r}, role={self.role!r}, address={self.address!r})"


class Act(Struct, frozen=True):
    """One request: by whom, under which id, and what it asks for: an operation, a path, and the
    target that the path names, if any."""

    principal: Principal
    request_id: str
    operation: str
    path: str
    target: str = ""
