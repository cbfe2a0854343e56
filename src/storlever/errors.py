"""Everything that can go wrong, as one tree; each leaf has a stable `code`.

    StorLeverError
    ├── Invalid        the request breaks a rule; `faults` names every field
    │   └── Reused         its key was another request's: idempotency-key-reused
    ├── NotFound       target-not-found, user-not-found, lun-not-found, session-not-found,
    │                  token-not-found
    ├── Conflict       the request does not fit what is there; `blocking` names sessions
    ├── Precondition   what is there is not what the request was made for: precondition-failed
    ├── Unauthenticated  nobody knows who asks: token-missing, token-unknown, token-expired
    │   └── Throttled      and they ask too often
    ├── Forbidden      who asks may not do this
    ├── Refused        tgtd said no to something it should have taken
    │   ├── Unfit          it was not asked: backing-store-missing, -too-small, no-room-for-aio
    │   │                  backing-store-forbidden
    │   └── Swapped        it opened something else than was looked at: backing-store-changed
    ├── Unavailable    tgtd is down, hung or unintelligible, or busy with others: nothing lasts
    │   └── Untrusted      its answer is forged by an initiator's name
    ├── StateFailed    the state could not be made durable: state-full, state-unwritable; or not be
    │                  read: state-unreadable; or
    │                  it is not known whether it is: state-doubtful
    ├── StateUnusable  start-up only: the state file is damaged, foreign or newer, or the key
    │   │              to it does not fit
    │   └── InUse          or it is in use
    └── ConfigError    start-up only: a setting is unknown, malformed or not allowed

No status codes and no tgtd numbers here: `web` and `tgtd` translate at their edges.
Messages read "cannot <what was asked>: <why>" or plainly "<why>", and never hold a secret.
"""

from dataclasses import dataclass


class StorLeverError(Exception):
    """The root; `str()` is the sentence for people, `code` the word for programs."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        if code is not None:
            self.code = code


@dataclass(frozen=True)
class Fault:
    """One broken rule: the field's name and the rule, as a sentence."""

    field: str
    message: str


class Invalid(StorLeverError):
    code = "invalid"

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


class Reused(Invalid):
    code = "idempotency-key-reused"


class NotFound(StorLeverError):
    code = "not-found"


class Conflict(StorLeverError):
    """`blocking`: (initiator name, address) of each session in the way, where that is the cause."""

    code = "conflict"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        blocking: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail, code=code)
        self.blocking = blocking


class Precondition(StorLeverError):
    code = "precondition-failed"


class Unauthenticated(StorLeverError):
    """`who`: whose credential it was, when it was somebody's once, else ""."""

    code = "token-missing"

    def __init__(self, detail: str, *, code: str | None = None, who: str = "") -> None:
        super().__init__(detail, code=code)
        self.who = who


class Throttled(Unauthenticated):
    """`seconds`: until one more attempt is heard."""

    code = "too-many-failures"

    def __init__(self, seconds: float) -> None:
        super().__init__("too many failed attempts; wait")
        self.seconds = seconds


class Forbidden(StorLeverError):
    code = "forbidden"


class Refused(StorLeverError):
    """`drift`: tgtd's answer shows that it is not in the state we last knew it in."""

    code = "refused"

    def __init__(self, detail: str, *, drift: bool = False, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.drift = drift


class Unfit(Refused):
    """What a LUN needs is not there: tgtd was not even asked."""

    code = "backing-store-missing"


class Swapped(Refused):
    """tgtd opened something else than was looked at; the unit is gone from it."""

    code = "backing-store-changed"


class Unavailable(StorLeverError):
    """Asking again in a while makes sense."""

    code = "tgtd-unavailable"


class Untrusted(Unavailable):
    """tgtd answers, and somebody's name in the answer pretends to be tgtd's own words."""


class StateFailed(StorLeverError):
    code = "state-unwritable"


class StateUnusable(StorLeverError):
    code = "state-unusable"


class InUse(StateUnusable):
    """By another program, which may be gone in a moment."""


class ConfigError(StorLeverError):
    code = "config"
