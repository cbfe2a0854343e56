"""tgtd's in-memory twin: a Transport that answers as the daemon (1.0.85) does.

It keeps the rules of the real one that StorLever builds on, those that kill it included, and
shares its contract tests with it. What initiators would be granted can be asked with `admits`.
"""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from storlever.errors import Unavailable
from storlever.model import Traffic
from storlever.names import EVERYONE
from storlever.tgtd.life import Peer
from storlever.tgtd.memory import text
from storlever.tgtd.memory.bound import Bound
from storlever.tgtd.memory.failure import Death, Refusal
from storlever.tgtd.memory.target import Target
from storlever.tgtd.reply import Reply
from storlever.tgtd.transport import Awaited, NotRunning, Transport
from storlever.tgtd.wire import EVERY, SEGMENT_LENGTH, Mode, Op, Request, TgtError


class MemoryTgtd(Transport):
    """A Transport and a Daemon. `requests` counts what was asked; `hung` and `dead` say how it
    fails to answer; `known_hole` what it is vulnerable to."""

    def __init__(self) -> None:
        self.life = 0
        self.known_hole: str | None = None
        self.restart()

    def ensure(self) -> Peer:
        if self.dead:
            raise NotRunning("tgtd is not running")
        return Peer(self._pid, self.life)

    def hole(self, pid: int) -> str | None:
        return self.known_hole if pid == self._pid else None

    @property
    def _pid(self) -> int:
        """A number that no process of the machine has."""
        return -self.life

    def restart(self) -> None:
        """A new life, with everything forgotten."""
        self.life += 1
        self.targets: dict[int, Target] = {}
        self.accounts: dict[str, str] = {}
        self.discovery = Bound(limited=True)
        self.portals = ["127.0.0.1:3260"]
        self.requests = 0
        self.hung = False
        self.dead = False
        self._next_session = 1

    def send(self, request: Request, *, pid: int | None = None) -> Awaited:
        reply = self._reply(request, pid)
        return lambda: reply

    def _reply(self, request: Request, pid: int | None) -> Reply:
        if self.dead:
            raise NotRunning("tgtd is not running")
        if pid not in (None, self._pid):
            raise Unavailable("tgtd has been restarted")
        if self.hung:
            raise Unavailable("tgtd did not answer")
        self.requests += 1
        try:
            return Reply(0, self._answer(request))
        except Refusal as refusal:
            return Reply(refusal.error)
        except Death:
            self.dead = True
            raise Unavailable("tgtd closed the connection: it died") from None

    def _answer(self, request: Request) -> str:
        match request.mode:
            case Mode.TARGET:
                return self._target_request(request)
            case Mode.UNIT:
                return self._unit_request(request)
            case Mode.ACCOUNT:
                return self._account_request(request)
            case Mode.CONNECTION:
                return self._connection_request(request)
            case Mode.PORTAL:
                return text.portals(self.portals)
            case Mode.DRIVER:
                return text.drivers(self.targets)
            case Mode.SYSTEM:
                return self._system_request(request)

    # -- targets

    def _target(self, tid: int) -> Target:
        if tid not in self.targets:
            raise Refusal(TgtError.NO_TARGET)
        return self.targets[tid]

    def _target_request(self, request: Request) -> str:
        match request.op:
            case Op.SHOW if request.tid == EVERY:
                return text.everything(self.targets)
            case Op.SHOW:
                return f"{SEGMENT_LENGTH}={self._target(request.tid).segment}\n"
            case Op.NEW:
                name = dict(request.parameters)["targetname"]
                taken = request.tid in self.targets
                if taken or any(each.name == name for each in self.targets.values()):
                    raise Refusal(TgtError.TARGET_EXISTS)
                self.targets[request.tid] = Target(name)
            case Op.DELETE:
                if self._target(request.tid).sessions and not request.force:
                    raise Refusal(TgtError.TARGET_ACTIVE)
                del self.targets[request.tid]
            case Op.UPDATE:
                self._target(request.tid).update(*request.parameters[0])
            case Op.BIND:
                self._target(request.tid).admit(*request.parameters[0])
            case Op.UNBIND:
                self._target(request.tid).deny(*request.parameters[0])
        return ""

    # -- logical units

    def _unit_request(self, request: Request) -> str:
        if request.op is not Op.NEW and request.tid not in self.targets:
            raise Refusal(TgtError.NO_LUN)
        target = self._target(request.tid)
        match request.op:
            case Op.NEW:
                target.add_unit(request)
            case Op.STATS:
                return text.unit_statistics(request.tid, target, request.lun)
            case Op.UPDATE:
                target.unit(request.lun).update(request.parameters)
            case _:
                target.remove_unit(request.lun)
        return ""

    # -- accounts

    def _account_request(self, request: Request) -> str:
        parameters = dict(request.parameters)
        name = parameters.get("user", "")
        match request.op:
            case Op.SHOW:
                return text.accounts(self.accounts)
            case Op.NEW:
                if name in self.accounts:
                    raise Refusal(TgtError.USER_EXISTS)
                self.accounts[name] = parameters["password"]
                return ""
        if request.op is not Op.DELETE and request.tid != EVERY:
            self._target(request.tid)
        if name not in self.accounts:
            raise Refusal(TgtError.NO_USER)
        if request.op is Op.DELETE:
            for bound in self._bounds():
                bound.forget(name)
            del self.accounts[name]
        else:
            self._bind(request, name)
        return ""

    def _bind(self, request: Request, name: str) -> None:
        everywhere = request.tid == EVERY
        bound = self.discovery if everywhere else self.targets[request.tid].bound
        if request.op is Op.BIND:
            (bound.bind_outgoing if request.outgoing else bound.bind)(name)
        else:
            (bound.unbind_outgoing if request.outgoing else bound.unbind)(name)

    def _bounds(self) -> Iterator[Bound]:
        yield self.discovery
        for target in self.targets.values():
            yield target.bound

    # -- the rest

    def _connection_request(self, request: Request) -> str:
        target = self._target(request.tid)
        if request.op is Op.DELETE:
            target.close(request.sid, request.cid)
            return ""
        return text.connections(target)

    def _system_request(self, request: Request) -> str:
        if request.op is Op.DELETE:
            if self.targets:
                raise Refusal(TgtError.INVALID_REQUEST)
            self.dead = True
            return ""
        if request.op is Op.UPDATE:
            return ""
        if request.op is Op.STATS:
            return text.statistics(self.targets)
        return text.system(self.discovery)

    # -- what initiators meet

    def admits(self, target: str, initiator: str, address: str, user: str, secret: str) -> bool:
        """Whether this initiator could log in now, with this name and secret if asked for them."""
        found = next((each for each in self.targets.values() if each.name == target), None)
        if found is None or not found.ready:
            return False
        if initiator not in found.names and not any(
            _matches(entry, address) for entry in found.addresses
        ):
            return False
        return self._proven(found.bound, user, secret)

    def lists_targets(self, user: str, secret: str) -> bool:
        """Whether a discovery session would be granted."""
        return self._proven(self.discovery, user, secret)

    def _proven(self, bound: Bound, user: str, secret: str) -> bool:
        if not bound.count:
            return True
        return user in bound.visible() and self.accounts.get(user) == secret

    def log_in(
        self, target: str, initiator: str, address: str = "127.0.0.1", alias: str = "none"
    ) -> int:
        """A session that is there, however it was granted; its number."""
        sid, self._next_session = self._next_session, self._next_session + 1
        found = self._named(target)
        found.sessions[sid] = (initiator, address)
        found.aliases[sid] = alias
        return sid

    def log_out(self, target: str, sid: int) -> None:
        del self._named(target).sessions[sid]

    def work(self, target: str, lun: int, sid: int, done: Traffic) -> None:
        """That much went through."""
        self._named(target).work(lun, sid, done)

    def _named(self, target: str) -> Target:
        return next(each for each in self.targets.values() if each.name == target)


def _matches(entry: str, address: str) -> bool:
    return entry == EVERYONE or ip_address(address) in ip_network(entry)
