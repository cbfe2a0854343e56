"""What to do next about each code of an error (docs/errors.md), in the words of the commands."""

from argparse import Namespace

UNREACHABLE: dict[str, tuple[str, str]] = {
    "": (
        "the service does not answer",
        "is it running? If it is elsewhere, say where: --url, --socket or --state-dir",
    ),
    "permission": (
        "you may not connect to the service's socket",
        "be root, or whoever runs the service; or have it give you a role: --socket-role",
    ),
    "certificate": (
        "the service's certificate is not trusted",
        "say who signs it: --ca-file FILE, or STORLEVER_CA_FILE",
    ),
}
"""What is wrong and what to do, by the barrier (client.errors)."""
ADVICE = {
    "token-missing": "give a token: --token-file FILE, or STORLEVER_TOKEN",
    "token-unknown": "make another one: storlever token create",
    "token-expired": "make another one: storlever token create",
    "forbidden": "use a token of that role",
    "host-not-allowed": "use a name of the service's --allow-host, or its address",
    "target-not-found": "storlever target list shows those that are there",
    "user-not-found": "storlever user list IQN shows those that are there",
    "lun-not-found": "storlever lun list IQN shows those that are there",
    "token-not-found": "storlever token list shows those that are there",
    "session-not-found": "storlever session list IQN shows those that are there",
    "revision-not-kept": "storlever revision list shows those that are there",
    "target-exists": "storlever target set changes it",
    "user-exists": "storlever user set-password changes it",
    "lun-exists": "storlever lun set changes it; without --lun a free number is taken",
    "token-exists": "storlever token revoke ends it, if it shall be another one",
    "password-differs": "give the password that the user has elsewhere, or change that first: "
    "storlever user set-password --everywhere",
    "password-shared": "say --everywhere to change it on all of them",
    "outgoing-user-exists": "remove the other one first: storlever user remove --outgoing",
    "sessions-active": "log these hosts out, or say --force to close their sessions",
    "too-much-removed": "look at it with --dry-run; if it shall be so, say --force",
    "cannot-block": "change the target's lists yourself: storlever target set",
    "session-stays": "try again; see the service's log",
    "not-adoptable": "change that with tgtadm first, or leave it to whoever made it",
    "lun-busy": "try again in a while",
    "target-busy": "try again in a while",
    "removal-prevented": "unmount it on the host first",
    "backing-store-in-use": "say --shared to serve it twice",
    "backing-store-held": "unmount it, or, as an admin, say --force to serve it all the same",
    "backing-store-missing": "bring the file back: it is tried again every few seconds",
    "backing-store-too-small": "give the file the size that it had: truncate -s",
    "backing-store-forbidden": "move the file, or add a --backing-root to the service",
    "no-room-for-aio": "raise fs.aio-max-nr with sysctl, or use --bs-type rdwr",
    "target-foreign": "take it over with storlever adopt, or use another name",
    "user-foreign": "remove it with tgtadm, or use another name",
    "precondition-failed": "somebody has changed it meanwhile: look, and try again",
    "tgtd-unavailable": "see storlever doctor; --wait SECONDS goes on trying",
    "too-many-streams": "end another storlever watch first",
    "too-busy": "try again; --wait SECONDS does that",
    "state-unwritable": "see to the disk of the service's state folder",
    "state-doubtful": "see to the disk of the service's state folder",
    "state-full": "make room in the service's state folder",
    "too-many-failures": "wait, then use a token that is valid",
    "internal": "the service's log has it under this request id",
}
LACKING = {
    "lun-exists": ("lun", "storlever lun set changes it"),
    "password-shared": ("everywhere", "change it: storlever user set-password --everywhere"),
    "sessions-active": ("force", "log these hosts out first"),
    "backing-store-in-use": (
        "shared",
        "say there that it is served twice: shared in a document, allow-in-use in a targets.conf",
    ),
    "backing-store-held": ("force", "unmount it"),
    "no-room-for-aio": ("bs_type", "raise fs.aio-max-nr with sysctl"),
}
"""A flag, and the advice for commands that do not have it."""


def advice(code: str, given: Namespace) -> str:
    """For a command, by what it was given; "" where there is none."""
    flag, otherwise = LACKING.get(code, ("", ""))
    if flag and not hasattr(given, flag):
        return otherwise
    if code == "too-much-removed" and getattr(given, "dry_run", False):
        return "if it shall be so, say --force"
    return ADVICE.get(code, "")
