"""Which LUNs stand on which backing store, so that one store is not handed out twice unawares."""

from collections.abc import Iterable

from storlever.model import Place


class Claims:
    """Store key (an identity, or a path where nothing is there) -> the places that use it."""

    def __init__(self) -> None:
        self._places: dict[str, set[Place]] = {}
        self._keys: dict[Place, frozenset[str]] = {}

    def put(self, place: Place, keys: Iterable[str]) -> None:
        """Let the place use these keys and no others; none to let go."""
        for key in self._keys.pop(place, ()):
            self._places[key].discard(place)
            if not self._places[key]:
                del self._places[key]
        if wanted := frozenset(keys):
            self._keys[place] = wanted
            for key in wanted:
                self._places.setdefault(key, set()).add(place)

    def hold(self, place: Place, key: str) -> bool:
        """Whether the place uses the key."""
        return key in self._keys.get(place, ())

    def others(self, place: Place, keys: Iterable[str]) -> list[Place]:
        """The other places that use one of the keys, sorted."""
        found: set[Place] = set()
        for key in keys:
            found |= self._places.get(key, set())
        return sorted(found - {place})
