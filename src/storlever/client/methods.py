"""The methods of both clients: made by script/generate of `operations`, not edited."""

# ruff: noqa: A002

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from storlever.client import operations
from storlever.client.call import Call
from storlever.client.shapes import (
    Admission,
    AuditPage,
    BackingType,
    Closed,
    Conf,
    DeviceType,
    Direction,
    Document,
    Done,
    ForeignTarget,
    Lun,
    NewLun,
    NewToken,
    Readiness,
    Revision,
    Role,
    Session,
    State,
    Target,
    Token,
    User,
    Username,
)

T = TypeVar("T")


class Methods(ABC):
    @abstractmethod
    def do(self, call: Call[T]) -> T:
        """One of `operations`, or what was made of it. Raises ClientError."""

    def conf(self) -> Conf:
        """The users of discovery sessions."""
        return self.do(operations.conf())

    def set_conf(
        self, *, incomingdiscoveryuser: str | None = None, outgoingdiscoveryuser: str | None = None
    ) -> Done:
        """Each is `name:password`, or "" for nobody."""
        return self.do(
            operations.set_conf(
                incomingdiscoveryuser=incomingdiscoveryuser,
                outgoingdiscoveryuser=outgoingdiscoveryuser,
            )
        )

    def targets(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return self.do(operations.targets())

    def targets_in_full(self) -> tuple[Target, ...]:
        """All of them; without their sessions."""
        return self.do(operations.targets_in_full())

    def target(self, iqn: str) -> Target:
        """Its sessions included."""
        return self.do(operations.target(iqn))

    def create_target(
        self,
        iqn: str,
        *,
        state: State | None = None,
        initiator_addr_list: Sequence[str] | None = None,
        initiator_name_list: Sequence[str] | None = None,
        incominguser_list: Sequence[User] | None = None,
        outgoinguser_list: Sequence[User] | None = None,
        lun_list: Sequence[NewLun] | None = None,
        exists_ok: bool = False,
    ) -> Done:
        """With all that is given, or not at all. Without lists and users it admits every host that
        reaches the portal."""
        return self.do(
            operations.create_target(
                iqn,
                state=state,
                initiator_addr_list=initiator_addr_list,
                initiator_name_list=initiator_name_list,
                incominguser_list=incominguser_list,
                outgoinguser_list=outgoinguser_list,
                lun_list=lun_list,
                exists_ok=exists_ok,
            )
        )

    def set_target(
        self,
        iqn: str,
        *,
        state: State | None = None,
        initiator_addr_list: Sequence[str] | None = None,
        initiator_name_list: Sequence[str] | None = None,
        force: bool = False,
    ) -> Done:
        """`force`: close sessions that are in the way."""
        return self.do(
            operations.set_target(
                iqn,
                state=state,
                initiator_addr_list=initiator_addr_list,
                initiator_name_list=initiator_name_list,
                force=force,
            )
        )

    def delete_target(self, iqn: str, *, force: bool = False, missing_ok: bool = False) -> Done:
        """With its LUNs and users. `force`: close sessions that are in the way."""
        return self.do(operations.delete_target(iqn, force=force, missing_ok=missing_ok))

    def users(self, iqn: str, *, direction: Direction = "incoming") -> tuple[str, ...]:
        """Their names, sorted."""
        return self.do(operations.users(iqn, direction=direction))

    def user(self, iqn: str, username: str, *, direction: Direction = "incoming") -> Username:
        """Whether the target has it: else NotFound."""
        return self.do(operations.user(iqn, username, direction=direction))

    def add_user(
        self,
        iqn: str,
        username: str,
        password: str,
        *,
        direction: Direction = "incoming",
        exists_ok: bool = False,
    ) -> Done:
        """One outgoing user a target; one password a user, on whichever targets."""
        return self.do(
            operations.add_user(iqn, username, password, direction=direction, exists_ok=exists_ok)
        )

    def set_password(
        self,
        iqn: str,
        username: str,
        password: str,
        *,
        direction: Direction = "incoming",
        everywhere: bool = False,
    ) -> Done:
        """`everywhere`: for every target that shares the user. It counts from the next login on."""
        return self.do(
            operations.set_password(
                iqn, username, password, direction=direction, everywhere=everywhere
            )
        )

    def remove_user(
        self,
        iqn: str,
        username: str,
        *,
        direction: Direction = "incoming",
        missing_ok: bool = False,
    ) -> Done:
        """From this target; a target without incoming users asks nobody for a password."""
        return self.do(
            operations.remove_user(iqn, username, direction=direction, missing_ok=missing_ok)
        )

    def luns(self, iqn: str) -> tuple[Lun, ...]:
        """By their numbers."""
        return self.do(operations.luns(iqn))

    def lun(self, iqn: str, lun: int) -> Lun:
        """One of them."""
        return self.do(operations.lun(iqn, lun))

    def create_lun(
        self,
        iqn: str,
        lun: int,
        path: str,
        *,
        device_type: DeviceType | None = None,
        bs_type: BackingType | None = None,
        direct_map: bool | None = None,
        write_cache: bool | None = None,
        readonly: bool | None = None,
        online: bool | None = None,
        shared: bool | None = None,
        scsi_id: str | None = None,
        scsi_sn: str | None = None,
        force: bool = False,
        exists_ok: bool = False,
    ) -> Done:
        """`force`: serve a device that the machine itself uses (an admin's)."""
        return self.do(
            operations.create_lun(
                iqn,
                lun,
                path,
                device_type=device_type,
                bs_type=bs_type,
                direct_map=direct_map,
                write_cache=write_cache,
                readonly=readonly,
                online=online,
                shared=shared,
                scsi_id=scsi_id,
                scsi_sn=scsi_sn,
                force=force,
                exists_ok=exists_ok,
            )
        )

    def set_lun(
        self,
        iqn: str,
        lun: int,
        *,
        path: str | None = None,
        device_type: DeviceType | None = None,
        bs_type: BackingType | None = None,
        direct_map: bool | None = None,
        write_cache: bool | None = None,
        readonly: bool | None = None,
        online: bool | None = None,
        shared: bool | None = None,
        scsi_id: str | None = None,
        scsi_sn: str | None = None,
        force: bool = False,
    ) -> Done:
        """The `path` that it has already: serve what is there now, a file at its new size."""
        return self.do(
            operations.set_lun(
                iqn,
                lun,
                path=path,
                device_type=device_type,
                bs_type=bs_type,
                direct_map=direct_map,
                write_cache=write_cache,
                readonly=readonly,
                online=online,
                shared=shared,
                scsi_id=scsi_id,
                scsi_sn=scsi_sn,
                force=force,
            )
        )

    def delete_lun(self, iqn: str, lun: int, *, missing_ok: bool = False) -> Done:
        """What is behind it stays."""
        return self.do(operations.delete_lun(iqn, lun, missing_ok=missing_ok))

    def sessions(self, iqn: str) -> tuple[Session, ...]:
        """With what each has read and written."""
        return self.do(operations.sessions(iqn))

    def session(self, iqn: str, id: int) -> Session:
        """One of them."""
        return self.do(operations.session(iqn, id))

    def close_session(self, iqn: str, id: int, *, block: bool = False) -> Closed:
        """Without `block`, the host may log in again at once. It is never sent twice: after a
        restart of tgtd the number may be another host's."""
        return self.do(operations.close_session(iqn, id, block=block))

    def access(
        self,
        iqn: str,
        *,
        initiator: str | None = None,
        address: str | None = None,
        user: str | None = None,
    ) -> Admission:
        """Whether such a host may log in, and why."""
        return self.do(operations.access(iqn, initiator=initiator, address=address, user=user))

    def config(self, *, secrets: bool = False) -> Document:
        """All that is desired. `secrets`: with passwords (an admin's)."""
        return self.do(operations.config(secrets=secrets))

    def apply_config(
        self, document: Mapping[str, Any], *, prune: bool = False, force: bool = False
    ) -> Done:
        """`prune`: what its lists do not name goes. `force`: although much goes, or sessions are in
        the way."""
        return self.do(operations.apply_config(document, prune=prune, force=force))

    def revisions(
        self, *, before: int | None = None, limit: int | None = None
    ) -> tuple[Revision, ...]:
        """The newest first; without what was before and after."""
        return self.do(operations.revisions(before=before, limit=limit))

    def revision(self, number: int) -> Revision:
        """With what was before and after."""
        return self.do(operations.revision(number))

    def restore_revision(self, number: int, *, force: bool = False) -> Done:
        """All as it was after this revision, but for tokens."""
        return self.do(operations.restore_revision(number, force=force))

    def foreign_targets(self) -> tuple[ForeignTarget, ...]:
        """What tgtd serves and StorLever did not make."""
        return self.do(operations.foreign_targets())

    def adopt(self, iqn: str, users: Sequence[User] = ()) -> Done:
        """Have a foreign target as one of ours; each user bound to it needs its password."""
        return self.do(operations.adopt(iqn, users))

    def tokens(self) -> tuple[Token, ...]:
        """By their names."""
        return self.do(operations.tokens())

    def token(self, name: str) -> Token:
        """One of them."""
        return self.do(operations.token(name))

    def create_token(self, name: str, role: Role, expires: str | None = None) -> NewToken:
        """`expires`: 90d, 12h, 30m or never. It is never sent twice: its answer, a secret, is not
        kept for a repetition."""
        return self.do(operations.create_token(name, role, expires))

    def delete_token(self, name: str, *, missing_ok: bool = False) -> Done:
        """It is refused from now on."""
        return self.do(operations.delete_token(name, missing_ok=missing_ok))

    def audit(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        who: str | None = None,
        target: str | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> AuditPage:
        """The newest entries, or with `after` the oldest beyond that number."""
        return self.do(
            operations.audit(
                since=since,
                until=until,
                who=who,
                target=target,
                after=after,
                before=before,
                limit=limit,
            )
        )

    def ready(self) -> Readiness:
        """Also when it is not: an answer all the same."""
        return self.do(operations.ready())

    def portals(self) -> tuple[str, ...]:
        """Where hosts log in, HOST:PORT each; 0.0.0.0 and [::] stand for every address."""
        return self.do(operations.portals())

    def metrics(self) -> str:
        """In Prometheus' text format."""
        return self.do(operations.metrics())


class AsyncMethods(ABC):
    @abstractmethod
    async def do(self, call: Call[T]) -> T:
        """One of `operations`, or what was made of it. Raises ClientError."""

    async def conf(self) -> Conf:
        """The users of discovery sessions."""
        return await self.do(operations.conf())

    async def set_conf(
        self, *, incomingdiscoveryuser: str | None = None, outgoingdiscoveryuser: str | None = None
    ) -> Done:
        """Each is `name:password`, or "" for nobody."""
        return await self.do(
            operations.set_conf(
                incomingdiscoveryuser=incomingdiscoveryuser,
                outgoingdiscoveryuser=outgoingdiscoveryuser,
            )
        )

    async def targets(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return await self.do(operations.targets())

    async def targets_in_full(self) -> tuple[Target, ...]:
        """All of them; without their sessions."""
        return await self.do(operations.targets_in_full())

    async def target(self, iqn: str) -> Target:
        """Its sessions included."""
        return await self.do(operations.target(iqn))

    async def create_target(
        self,
        iqn: str,
        *,
        state: State | None = None,
        initiator_addr_list: Sequence[str] | None = None,
        initiator_name_list: Sequence[str] | None = None,
        incominguser_list: Sequence[User] | None = None,
        outgoinguser_list: Sequence[User] | None = None,
        lun_list: Sequence[NewLun] | None = None,
        exists_ok: bool = False,
    ) -> Done:
        """With all that is given, or not at all. Without lists and users it admits every host that
        reaches the portal."""
        return await self.do(
            operations.create_target(
                iqn,
                state=state,
                initiator_addr_list=initiator_addr_list,
                initiator_name_list=initiator_name_list,
                incominguser_list=incominguser_list,
                outgoinguser_list=outgoinguser_list,
                lun_list=lun_list,
                exists_ok=exists_ok,
            )
        )

    async def set_target(
        self,
        iqn: str,
        *,
        state: State | None = None,
        initiator_addr_list: Sequence[str] | None = None,
        initiator_name_list: Sequence[str] | None = None,
        force: bool = False,
    ) -> Done:
        """`force`: close sessions that are in the way."""
        return await self.do(
            operations.set_target(
                iqn,
                state=state,
                initiator_addr_list=initiator_addr_list,
                initiator_name_list=initiator_name_list,
                force=force,
            )
        )

    async def delete_target(
        self, iqn: str, *, force: bool = False, missing_ok: bool = False
    ) -> Done:
        """With its LUNs and users. `force`: close sessions that are in the way."""
        return await self.do(operations.delete_target(iqn, force=force, missing_ok=missing_ok))

    async def users(self, iqn: str, *, direction: Direction = "incoming") -> tuple[str, ...]:
        """Their names, sorted."""
        return await self.do(operations.users(iqn, direction=direction))

    async def user(self, iqn: str, username: str, *, direction: Direction = "incoming") -> Username:
        """Whether the target has it: else NotFound."""
        return await self.do(operations.user(iqn, username, direction=direction))

    async def add_user(
        self,
        iqn: str,
        username: str,
        password: str,
        *,
        direction: Direction = "incoming",
        exists_ok: bool = False,
    ) -> Done:
        """One outgoing user a target; one password a user, on whichever targets."""
        return await self.do(
            operations.add_user(iqn, username, password, direction=direction, exists_ok=exists_ok)
        )

    async def set_password(
        self,
        iqn: str,
        username: str,
        password: str,
        *,
        direction: Direction = "incoming",
        everywhere: bool = False,
    ) -> Done:
        """`everywhere`: for every target that shares the user. It counts from the next login on."""
        return await self.do(
            operations.set_password(
                iqn, username, password, direction=direction, everywhere=everywhere
            )
        )

    async def remove_user(
        self,
        iqn: str,
        username: str,
        *,
        direction: Direction = "incoming",
        missing_ok: bool = False,
    ) -> Done:
        """From this target; a target without incoming users asks nobody for a password."""
        return await self.do(
            operations.remove_user(iqn, username, direction=direction, missing_ok=missing_ok)
        )

    async def luns(self, iqn: str) -> tuple[Lun, ...]:
        """By their numbers."""
        return await self.do(operations.luns(iqn))

    async def lun(self, iqn: str, lun: int) -> Lun:
        """One of them."""
        return await self.do(operations.lun(iqn, lun))

    async def create_lun(
        self,
        iqn: str,
        lun: int,
        path: str,
        *,
        device_type: DeviceType | None = None,
        bs_type: BackingType | None = None,
        direct_map: bool | None = None,
        write_cache: bool | None = None,
        readonly: bool | None = None,
        online: bool | None = None,
        shared: bool | None = None,
        scsi_id: str | None = None,
        scsi_sn: str | None = None,
        force: bool = False,
        exists_ok: bool = False,
    ) -> Done:
        """`force`: serve a device that the machine itself uses (an admin's)."""
        return await self.do(
            operations.create_lun(
                iqn,
                lun,
                path,
                device_type=device_type,
                bs_type=bs_type,
                direct_map=direct_map,
                write_cache=write_cache,
                readonly=readonly,
                online=online,
                shared=shared,
                scsi_id=scsi_id,
                scsi_sn=scsi_sn,
                force=force,
                exists_ok=exists_ok,
            )
        )

    async def set_lun(
        self,
        iqn: str,
        lun: int,
        *,
        path: str | None = None,
        device_type: DeviceType | None = None,
        bs_type: BackingType | None = None,
        direct_map: bool | None = None,
        write_cache: bool | None = None,
        readonly: bool | None = None,
        online: bool | None = None,
        shared: bool | None = None,
        scsi_id: str | None = None,
        scsi_sn: str | None = None,
        force: bool = False,
    ) -> Done:
        """The `path` that it has already: serve what is there now, a file at its new size."""
        return await self.do(
            operations.set_lun(
                iqn,
                lun,
                path=path,
                device_type=device_type,
                bs_type=bs_type,
                direct_map=direct_map,
                write_cache=write_cache,
                readonly=readonly,
                online=online,
                shared=shared,
                scsi_id=scsi_id,
                scsi_sn=scsi_sn,
                force=force,
            )
        )

    async def delete_lun(self, iqn: str, lun: int, *, missing_ok: bool = False) -> Done:
        """What is behind it stays."""
        return await self.do(operations.delete_lun(iqn, lun, missing_ok=missing_ok))

    async def sessions(self, iqn: str) -> tuple[Session, ...]:
        """With what each has read and written."""
        return await self.do(operations.sessions(iqn))

    async def session(self, iqn: str, id: int) -> Session:
        """One of them."""
        return await self.do(operations.session(iqn, id))

    async def close_session(self, iqn: str, id: int, *, block: bool = False) -> Closed:
        """Without `block`, the host may log in again at once. It is never sent twice: after a
        restart of tgtd the number may be another host's."""
        return await self.do(operations.close_session(iqn, id, block=block))

    async def access(
        self,
        iqn: str,
        *,
        initiator: str | None = None,
        address: str | None = None,
        user: str | None = None,
    ) -> Admission:
        """Whether such a host may log in, and why."""
        return await self.do(
            operations.access(iqn, initiator=initiator, address=address, user=user)
        )

    async def config(self, *, secrets: bool = False) -> Document:
        """All that is desired. `secrets`: with passwords (an admin's)."""
        return await self.do(operations.config(secrets=secrets))

    async def apply_config(
        self, document: Mapping[str, Any], *, prune: bool = False, force: bool = False
    ) -> Done:
        """`prune`: what its lists do not name goes. `force`: although much goes, or sessions are in
        the way."""
        return await self.do(operations.apply_config(document, prune=prune, force=force))

    async def revisions(
        self, *, before: int | None = None, limit: int | None = None
    ) -> tuple[Revision, ...]:
        """The newest first; without what was before and after."""
        return await self.do(operations.revisions(before=before, limit=limit))

    async def revision(self, number: int) -> Revision:
        """With what was before and after."""
        return await self.do(operations.revision(number))

    async def restore_revision(self, number: int, *, force: bool = False) -> Done:
        """All as it was after this revision, but for tokens."""
        return await self.do(operations.restore_revision(number, force=force))

    async def foreign_targets(self) -> tuple[ForeignTarget, ...]:
        """What tgtd serves and StorLever did not make."""
        return await self.do(operations.foreign_targets())

    async def adopt(self, iqn: str, users: Sequence[User] = ()) -> Done:
        """Have a foreign target as one of ours; each user bound to it needs its password."""
        return await self.do(operations.adopt(iqn, users))

    async def tokens(self) -> tuple[Token, ...]:
        """By their names."""
        return await self.do(operations.tokens())

    async def token(self, name: str) -> Token:
        """One of them."""
        return await self.do(operations.token(name))

    async def create_token(self, name: str, role: Role, expires: str | None = None) -> NewToken:
        """`expires`: 90d, 12h, 30m or never. It is never sent twice: its answer, a secret, is not
        kept for a repetition."""
        return await self.do(operations.create_token(name, role, expires))

    async def delete_token(self, name: str, *, missing_ok: bool = False) -> Done:
        """It is refused from now on."""
        return await self.do(operations.delete_token(name, missing_ok=missing_ok))

    async def audit(
        self,
        *,
        since: str | None = None,
        until: str | None = None,
        who: str | None = None,
        target: str | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> AuditPage:
        """The newest entries, or with `after` the oldest beyond that number."""
        return await self.do(
            operations.audit(
                since=since,
                until=until,
                who=who,
                target=target,
                after=after,
                before=before,
                limit=limit,
            )
        )

    async def ready(self) -> Readiness:
        """Also when it is not: an answer all the same."""
        return await self.do(operations.ready())

    async def portals(self) -> tuple[str, ...]:
        """Where hosts log in, HOST:PORT each; 0.0.0.0 and [::] stand for every address."""
        return await self.do(operations.portals())

    async def metrics(self) -> str:
        """In Prometheus' text format."""
        return await self.do(operations.metrics())
