"""How initiators log in to a target, as lines for their own tools."""

from collections.abc import Iterator, Sequence
from typing import Any

NO_PORTAL = "ADDRESS:3260"
"""Where it is not known."""
PASSWORD = "PASSWORD"  # noqa: S105  stands for one
Json = dict[str, Any]


def reachable(portals: Sequence[str], host: str) -> tuple[str, ...]:
    """`host`: where the service is asked, for those that stand for every address of its machine."""
    return tuple(dict.fromkeys(_at(each, host) for each in portals))


def _at(portal: str, host: str) -> str:
    bound, _, port = portal.rpartition(":")
    if bound not in ("0.0.0.0", "[::]"):  # noqa: S104  read, not bound
        return portal
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def lines(target: Json, portals: Sequence[str]) -> Iterator[str]:
    """`portals`: HOST:PORT each. A password is never known here: put it in place of PASSWORD."""
    name = target["iqn"]
    users = target["incominguser_list"]
    for portal in portals or (NO_PORTAL,):
        yield f"Linux, open-iscsi ({portal}):"
        yield from _indented(_open_iscsi(name, portal, users, target["outgoinguser_list"]))
        yield f"Windows, PowerShell ({portal}):"
        yield from _indented(_windows(name, portal, users))
        yield f"ESXi ({portal}; the name of its adapter for vmhba64):"
        yield from _indented(_esxi(name, portal, users))
        yield f"QEMU, libiscsi ({portal}; with the number of the LUN):"
        yield from _indented([_url(name, portal, users)])


def _indented(found: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in found]


def _open_iscsi(name: str, portal: str, users: Sequence[str], outgoing: Sequence[str]) -> list[str]:
    node = f"iscsiadm -m node -T {name} -p {portal}"
    said = [f"iscsiadm -m discovery -t sendtargets -p {portal}"]
    values = [("authmethod", "CHAP")] if users else []
    for user in users[:1]:
        values += [("username", user), ("password", PASSWORD)]
    for user in outgoing if users else ():
        values += [("username_in", user), ("password_in", PASSWORD)]
    said += [f"{node} --op update -n node.session.auth.{key} -v {text}" for key, text in values]
    return [*said, f"{node} --login"]


def _windows(name: str, portal: str, users: Sequence[str]) -> list[str]:
    host, port = _split(portal)
    chap = ""
    if users:
        chap = f" -AuthenticationType ONEWAYCHAP -ChapUsername '{users[0]}' -ChapSecret {PASSWORD}"
    return [
        f"New-IscsiTargetPortal -TargetPortalAddress {host} -TargetPortalPortNumber {port}",
        f"Connect-IscsiTarget -NodeAddress {name} -IsPersistent $true{chap}",
    ]


def _esxi(name: str, portal: str, users: Sequence[str]) -> list[str]:
    where = f"--adapter=vmhba64 --address={portal} --name={name}"
    said = [f"esxcli iscsi adapter discovery statictarget add {where}"]
    said += [
        f"esxcli iscsi adapter target portal auth chap set {where} --direction=uni "
        f"--level=required --authname={user} --secret={PASSWORD}"
        for user in users[:1]
    ]
    return [*said, "esxcli storage core adapter rescan --adapter=vmhba64"]


def _url(name: str, portal: str, users: Sequence[str]) -> str:
    login = f"{users[0]}%{PASSWORD}@" if users else ""
    return f"qemu-img info 'iscsi://{login}{portal}/{name}/1'"


def _split(portal: str) -> tuple[str, str]:
    host, _, port = portal.rpartition(":")
    return host.strip("[]"), port
