"""Grammar and limits of everything a request can name.

Each function takes text, returns its canonical form, and raises ValueError with the broken rule.
The limits are those of RFC 7143 and of tgtd; where tgtd is the reason, the comment says how.
"""

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

GUARD = "storlever.guard"
"""CHAP name kept in the first slot of every target with incoming users; see `plan`."""

EVERYONE = "ALL"
"""tgtd's word for every address, IPv4 and IPv6."""

LUN_MIN, LUN_MAX = 1, 255
SHORT_SECRET = 12
"""CHAP secrets below this many characters deserve a warning (RFC 7143, 9.2.1: 96 bits)."""

NAME_BYTES = 223  # RFC 7143, 4.2.7.2
PATH_BYTES = 1000  # tgtd cuts update values at 1023 bytes
DESIGNATOR_BYTES = 36
_IQN = r"iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[%s]+)?"
_NUMERIC = r"eui\.[0-9a-f]{16}|naa\.([0-9a-f]{16}|[0-9a-f]{32})"

# Regular expressions of whole texts, in what Python's and JavaScript's have in common: they are
# published. Where one says less than its function, a comment says what it leaves out.
TARGET_NAME = f"^({_IQN % 'a-z0-9:.-'}|{_NUMERIC})$"
INITIATOR_NAME = f"^({_IQN % 'a-z0-9:._-'}|{_NUMERIC})$"
INITIATOR_ADDRESS = (  # the range of a number, and which networks
    r"^(ALL|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9.]+)?|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(/[0-9]+)?)$"
)
CHAP_NAME = r"^[!#-&(-+\--~]{1,255}$"  # the reserved ones
CHAP_SECRET = r"^[ -~]{1,255}$"  # noqa: S105  a grammar
DISCOVERY_USER = r"^([!#-&(-+\--9;-~]{1,255}:[ -~]{1,255})?$"  # the reserved ones
DESIGNATOR = r"^([!-+\--~]([ -+\--~]*[!-+\--~])?)?$"  # the length
BACKING_PATH = r"^/[^,\u0000-\u001f\u007f-\u009f]*$"  # dots, surrogates, the length

RESERVED_CHAP_NAMES = (GUARD, ".", "..")
"""Ours, and two that would be lost on the way: a client takes them out of a URL's path."""

_TARGET = re.compile(TARGET_NAME)
_INITIATOR = re.compile(INITIATOR_NAME)
_CHAP_NAME = re.compile(CHAP_NAME)
_CHAP_SECRET = re.compile(CHAP_SECRET)
_DESIGNATOR = re.compile(DESIGNATOR)
_ZEROS = IPv6Network("::/64")


def target_name(text: str) -> str:
    """An iSCSI name that tgtd takes for a target: it refuses underscores there."""
    if "_" in text:
        raise ValueError("must not contain an underscore: tgtd refuses it in a target's name")
    return _iscsi_name(text, _TARGET)


def initiator_name(text: str) -> str:
    """An iSCSI name of an initiator. tgtd compares it byte by byte, so the case matters."""
    return _iscsi_name(text, _INITIATOR)


def _iscsi_name(text: str, grammar: re.Pattern[str]) -> str:
    if len(text.encode("utf-8", "replace")) > NAME_BYTES:
        raise ValueError(f"an iSCSI name has at most {NAME_BYTES} bytes")
    if not grammar.fullmatch(text):
        raise ValueError(
            "must be a lower-case iSCSI name: iqn.YYYY-MM.reversed.domain:text, "
            "eui. with 16 or naa. with 16 or 32 hexadecimal digits"
        )
    return text


def initiator_address(text: str) -> str:
    """An address, a network or ALL, in the one form that tgtd matches.

    tgtd checks nothing when it stores an entry and never matches x/32, v6/128, /0 or a network
    with host bits set; those are rewritten. It compares across the families: an IPv4 entry with
    an IPv6 client's flow label, which is 0, and an IPv6 entry with an IPv4 client's eight zeros
    of padding and, after them, whatever an earlier client left on tgtd's stack. So an entry that
    contains 0.0.0.0, or lies in ::/64 (::1 included), may admit the whole other family.
    """
    if text == EVERYONE:
        return text
    if "%" in text:
        raise ValueError("must not name an interface (%…)")
    try:
        network = ip_network(_unmapped(text), strict=False)
    except ValueError:
        raise ValueError(
            "must be an IPv4 or IPv6 address, a network like 10.0.0.0/24, or ALL"
        ) from None
    if network.prefixlen == 0:
        return EVERYONE
    if network.network_address.is_unspecified:
        raise ValueError("must not contain the unspecified address (0.0.0.0 or ::)")
    if isinstance(network, IPv6Network) and network.network_address in _ZEROS:
        raise ValueError("must not lie in ::/64: tgtd would let IPv4 initiators in as well")
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def _unmapped(text: str) -> str:
    """An IPv4-mapped IPv6 address as the IPv4 address it stands for; anything else as it is."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped else text


def chap_name(text: str) -> str:
    """A CHAP name; tgtd ends it at a comma and prints it unescaped, one a line."""
    if not _CHAP_NAME.fullmatch(text):
        raise ValueError(
            "must be 1 to 255 printable ASCII characters without comma, blank or quote"
        )
    if text in RESERVED_CHAP_NAMES:
        raise ValueError("this name is reserved")
    return text


def chap_secret(text: str) -> str:
    """A CHAP secret; from 256 bytes on nobody could log in with it."""
    if not _CHAP_SECRET.fullmatch(text):
        raise ValueError("must be 1 to 255 printable ASCII characters")
    return text


def backing_path(text: str) -> str:
    """A path that reaches tgtd as it is: it opens what stands before a comma, silently."""
    if not text.startswith("/"):
        raise ValueError("must be an absolute path")
    if "," in text:
        raise ValueError("must not contain a comma")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ValueError("must not contain control characters or lone surrogates")
    if ".." in text.split("/"):
        raise ValueError("must not contain '..'")
    if len(text.encode()) > PATH_BYTES:
        raise ValueError(f"must have at most {PATH_BYTES} bytes")
    return text


def scsi_id(text: str) -> str:
    """A designator for VPD page 83h; empty asks for a generated one. tgtd cuts at 36 bytes."""
    return _designator(text)


def serial_number(text: str) -> str:
    """A unit serial number for VPD page 80h; empty asks for a generated one."""
    return _designator(text)


def _designator(text: str) -> str:
    if len(text) > DESIGNATOR_BYTES or not _DESIGNATOR.fullmatch(text):
        raise ValueError(
            f"must be at most {DESIGNATOR_BYTES} printable ASCII characters, "
            "without comma or outer blanks"
        )
    return text


def printable(text: str) -> str:
    """Text of unknown origin (an initiator's own words) with everything unprintable escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode()
        for char in text
    )
