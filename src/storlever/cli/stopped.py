"""The state of a service that does not run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from storlever import audit, state, token
from storlever.audit import DONE, Json, Search
from storlever.cli import output
from storlever.clock import now
from storlever.config import Settings
from storlever.errors import StateUnusable
from storlever.home import Home
from storlever.inventory import Edit
from storlever.principal import Act, Principal, Role
from storlever.store import SqliteStore
from storlever.token import Token
from storlever.user import name_of


class Stopped:
    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._inventory = store.load()

    @classmethod
    @contextmanager
    def opened(cls, settings: Settings, *, new: bool) -> Iterator["Stopped"]:
        """`new`: where there is no state, begin one. Raises StateUnusable, also where the service
        runs; ConfigError where the folder is not ours to use."""
        home = Home(settings.state_dir)
        there = home.has_state()
        if new and not there:
            home.make()
            output.say(
                f"there was no state in {home.folder}; made it: run the service with that "
                "--state-dir"
            )
        elif not there:
            raise StateUnusable(f"there is no state in {home.folder}: is it another --state-dir?")
        with state.opened(settings, home) as found:
            yield cls(found.store)

    def tokens(self) -> list[Json]:
        return [self._inventory.tokens[name].as_json() for name in sorted(self._inventory.tokens)]

    def add_token(self, name: str, role: str, expires: str) -> Json:
        made, secret = Token.new(
            token.token_name(name), Role.parse(role), token.lifetime(expires), now()
        )
        self._commit("post_token", made.name, self._inventory.add_token(made))
        return {**made.as_json(), "token": secret}

    def remove_token(self, name: str) -> None:
        self._commit("delete_token", name, self._inventory.remove_token(name))

    def audit(self, query: Json) -> Json:
        anchor, entries = self._store.audit(Search(**query))
        return {"anchor": {"number": anchor.number, "hash": anchor.hash}, "entries": entries}

    def _commit(self, operation: str, name: str, edit: Edit) -> None:
        who = Principal(f"user:{name_of(os.geteuid())}", Role.ADMIN)
        act = Act(who, "", operation, f"/token_list/{name}")
        entry = audit.entry(act, now(), DONE, edit, self._inventory)
        self._store.commit(edit, [entry])
        self._inventory = self._inventory.after(edit)
