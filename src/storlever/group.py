"""Writes that are in force one by one, and become durable in one commit."""

from msgspec import Struct
from msgspec.structs import replace

from storlever.inventory import Edit, Inventory
from storlever.model import LogicalUnit, Place, differing
from storlever.plan import Scope


class Group(Struct, frozen=True):
    """What its writes made of `before`; a single write is a group too.

    `changed`: LUNs that came, went, or changed in any field; `moved`: of those, the ones whose path
    one of the writes changed; `reopen`: those that opened their path anew; `force`: targets whose
    sessions may be closed; `adopted`: targets that were foreign, of which nothing was changed in
    tgtd yet.
    """

    before: Inventory
    after: Inventory
    edit: Edit = Edit()
    changed: frozenset[Place] = frozenset()
    moved: frozenset[Place] = frozenset()
    reopen: frozenset[Place] = frozenset()
    force: frozenset[str] = frozenset()
    adopted: frozenset[str] = frozenset()

    @classmethod
    def empty(cls, inventory: Inventory) -> "Group":
        return cls(inventory, inventory)

    @classmethod
    def of(
        cls,
        edit: Edit,
        before: Inventory,
        reopen: frozenset[Place] = frozenset(),
        *,
        force: bool = False,
    ) -> "Group":
        differences = _differences(edit, before)
        return cls(
            before,
            before.after(edit),
            edit,
            changed=frozenset(place for place, _, _ in differences),
            moved=frozenset(at for at, was, became in differences if _path(was) != _path(became)),
            reopen=reopen,
            force=frozenset(edit.targets) if force else frozenset(),
        )

    def joined(self, later: "Group") -> "Group":
        """Both, where the later one began as this one ended."""
        return Group(
            self.before,
            later.after,
            self.edit.joined(later.edit),
            self.changed | later.changed,
            self.moved | later.moved,
            self.reopen | later.reopen,
            self.force | later.force,
            self.adopted | later.adopted,
        )

    def scope(self, failing: frozenset[Place]) -> Scope:
        """What a plan for it may touch; a LUN that is `failing` for other reasons is not."""
        parked = failing - self.changed - self.reopen
        return Scope.of(
            self.edit,
            self.before,
            self.after,
            parked=parked,
            reopen=self.reopen,
            force=self.force,
        )

    def undo(self, failing: frozenset[Place]) -> Scope:
        """What putting back may touch: nothing of what is foreign again."""
        scope, used_by = self.scope(failing), self.after.used_by
        if not self.adopted:
            return scope
        theirs = {
            name
            for name in scope.accounts
            if name not in self.before.accounts and used_by.get(name, self.adopted) <= self.adopted
        }
        return replace(
            scope, targets=scope.targets - self.adopted, accounts=scope.accounts - theirs
        )

    @property
    def left(self) -> frozenset[Place]:
        """Of those that moved, the ones that were there before."""
        return frozenset(place for place in self.moved if self.before.find(*place))


def _differences(
    edit: Edit, before: Inventory
) -> list[tuple[Place, LogicalUnit | None, LogicalUnit | None]]:
    return [
        ((name, lun), was, became)
        for name, new in edit.targets.items()
        for lun, was, became in differing(before.targets.get(name), new)
    ]


def _path(unit: LogicalUnit | None) -> str | None:
    return unit.backing_path if unit else None
