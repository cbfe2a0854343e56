"""Hypothesis strategies for what StorLever speaks of, whole inventories included.

Everything drawn keeps the rules of `names` and `model`: it could have come through the API.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from string import ascii_letters, ascii_lowercase, digits

from hypothesis import strategies as st

from storlever import names
from storlever.inventory import Inventory
from storlever.model import (
    FITTING,
    Access,
    Account,
    DeviceType,
    DiscoveryAuth,
    LogicalUnit,
    ScsiProduct,
    Target,
)

PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


# -- names


def _text(alphabet: str, most: int, least: int = 1) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=least, max_size=most)


def _hexadecimal(size: int) -> st.SearchStrategy[str]:
    return st.integers(0, 16**size - 1).map(f"{{:0{size}x}}".format)


def _iscsi_names(extra: str) -> st.SearchStrategy[str]:
    dated = st.builds(
        "iqn.{:04}-{:02}.{}{}".format,
        st.integers(0, 9999),
        st.integers(1, 12),
        _text(ascii_lowercase + digits, 8),
        st.just("") | _text(ascii_lowercase + digits + ":.-" + extra, 12).map(":{}".format),
    )
    eui = _hexadecimal(16).map("eui.{}".format)
    naa = (_hexadecimal(16) | _hexadecimal(32)).map("naa.{}".format)
    return st.one_of(dated, eui, naa)


target_names = _iscsi_names("")
initiator_names = _iscsi_names("_")
chap_names = _text("".join(set(PRINTABLE) - set(",\"'")), 30).filter(
    lambda text: text not in (names.GUARD, ".", "..")
)
chap_secrets = _text(PRINTABLE + " ", 16)
backing_paths = st.lists(
    _text(ascii_letters + digits + "._- =äß☃", 12).filter(lambda part: part != ".."),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
designators = _hexadecimal(31)
serial_numbers = _hexadecimal(16).map(str.upper)


# -- addresses

addresses: st.SearchStrategy[Address] = st.ip_addresses()


@st.composite
def networks(draw: st.DrawFn) -> Network:
    address = draw(addresses)
    prefix = draw(st.integers(0, address.max_prefixlen))
    return ip_network(f"{address}/{prefix}", strict=False)


def within(network: Network) -> st.SearchStrategy[Address]:
    """The addresses of a network, its ends more often than others."""
    first, last = int(network.network_address), int(network.broadcast_address)
    numbers = st.one_of(st.just(first), st.just(last), st.integers(first, last))
    family = IPv4Address if network.version == 4 else IPv6Address
    return numbers.map(family)


def _admissible(text: str) -> bool:
    try:
        names.initiator_address(text)
    except ValueError:
        return False
    return True


@st.composite
def written_addresses(draw: st.DrawFn) -> str:
    """An entry as an administrator may write it, host bits and all, that StorLever accepts."""
    address = draw(addresses)
    length = draw(st.none() | st.integers(0, address.max_prefixlen))
    return str(address) if length is None else f"{address}/{length}"


accepted_addresses = written_addresses().filter(_admissible)
initiator_addresses = (accepted_addresses | st.just(names.EVERYONE)).map(names.initiator_address)


def same_family(one: Address | Network, other: Address | Network) -> bool:
    return one.version == other.version


def parsed(text: str) -> Address | Network:
    return ip_network(text) if "/" in text else ip_address(text)


# -- the model


def _several(of: st.SearchStrategy[str], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(of, unique=True, max_size=most).map(tuple)


access = st.builds(Access, _several(initiator_names), _several(initiator_addresses))
accounts = st.builds(Account, chap_names, chap_secrets)
products = st.builds(
    ScsiProduct, _text(ascii_letters, 8), _text(ascii_letters + " ", 16), _text(digits + ".", 4)
)


@st.composite
def units(draw: st.DrawFn, lun: int | None = None) -> LogicalUnit:
    device = draw(st.sampled_from(DeviceType))
    mapped = draw(st.booleans())
    return LogicalUnit(
        lun=draw(st.integers(names.LUN_MIN, names.LUN_MAX)) if lun is None else lun,
        backing_path=draw(backing_paths),
        scsi_id=draw(designators),
        serial_number=draw(serial_numbers),
        device_type=device,
        backing_type=draw(st.sampled_from(FITTING[device])),
        direct_map=mapped,
        write_cache=device is not DeviceType.DISK or draw(st.booleans()),
        readonly=draw(st.booleans()),
        online=draw(st.booleans()),
        shared=draw(st.booleans()),
        product=draw(products) if mapped else None,
    )


def unit_lists(most: int = 3) -> st.SearchStrategy[tuple[LogicalUnit, ...]]:
    return st.lists(units(), max_size=most, unique_by=lambda unit: unit.lun).map(
        lambda found: tuple(sorted(found, key=lambda unit: unit.lun))
    )


@st.composite
def targets(draw: st.DrawFn, users: tuple[str, ...] = ()) -> Target:
    """`users`: the accounts that it may use."""
    some = st.sampled_from(users) if users else st.nothing()
    return Target(
        name=draw(target_names),
        online=draw(st.booleans()),
        access=draw(access),
        incoming=draw(_several(some)) if users else (),
        outgoing=draw(st.none() | some),
        units=draw(unit_lists()),
    )


@st.composite
def inventories(draw: st.DrawFn, most: int = 3) -> Inventory:
    """Up to `most` targets; every account is used, and every account used is there."""
    pool = draw(st.lists(accounts, max_size=5, unique_by=lambda account: account.name))
    users = tuple(account.name for account in pool)
    found = draw(st.lists(targets(users), max_size=most, unique_by=lambda target: target.name))
    some = st.none() | (st.sampled_from(users) if users else st.nothing())
    discovery = DiscoveryAuth(draw(some), draw(some))
    used = discovery.accounts.union(*(target.accounts for target in found))
    return Inventory.of(found, (account for account in pool if account.name in used), discovery)
