"""A copy of all objects of one kind, kept right under changes that arrive late, twice or not at all.

Which of two states is newer is decided by resourceVersion. It was opaque by doctrine until Kubernetes 1.35 declared it
comparable as an integer; earlier API servers count etcd's revisions too. Where it is not a number, what arrived last
wins, and the next list puts it right.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from analyzer.ports import Change, ChangeType, Kind, Listing, Object, Ref

Index = Callable[[Object], Iterable[str]]
"""The words under which an object is to be found."""


class Mirror:
    """The objects of one kind, and the position in the server's history up to which they are known.

    Parameters
    ----------
    index
        Under which words `find` finds an object; without it, under none.

    Attributes
    ----------
    position
        resourceVersion of the last list, change or bookmark; None before the first list.
    """

    def __init__(self, kind: Kind, index: Index = lambda _obj: ()) -> None:
        self.kind = kind
        self._index = index
        self._found: dict[str, set[tuple[str, str]]] = defaultdict(set)  # by word: namespace and name
        self.position: str | None = None
        self._objects: dict[str, dict[str, Object]] = {}  # by namespace, then by name

    def get(self, namespace: str, name: str) -> Object | None:
        """Look one object up."""
        return self._objects.get(namespace, {}).get(name)

    def objects(self, namespace: str | None = None) -> list[Object]:
        """All objects, or those of a namespace, ordered by namespace and name."""
        namespaces = sorted(self._objects) if namespace is None else [namespace]
        return [obj for space in namespaces for _, obj in sorted(self._objects.get(space, {}).items())]

    def find(self, word: str) -> list[Object]:
        """All objects with a word in the index, ordered by namespace and name."""
        return [self._objects[namespace][name] for namespace, name in sorted(self._found.get(word, ()))]

    def put(self, obj: Object) -> bool:
        """Take one object in; False if it is not news.

        One that is not here and is from before the position was deleted since: it is no news either.
        """
        there = self.get(*_key(obj))
        known = self.position if there is None else version_of(there)
        if known is not None and not is_newer(version_of(obj), known):
            return False
        self._set(obj)
        return True

    def absorb(self, change: Change) -> bool:
        """Take one event of a watch in; False if it is not news."""
        obj, news = change.object, False
        if change.type is ChangeType.DELETED:
            news = self._drop(obj)
        elif change.type is not ChangeType.BOOKMARK:
            news = self.put(obj)
        self.position = version_of(obj)
        return news

    def replace(self, listing: Listing) -> list[Object]:
        """Take a list in, and return every object that is new, changed or gone.

        What is newer than the list (our own write, meanwhile) stays. A list from before the position means that the
        store itself went back (a restored backup): then nothing stays but the list.
        """
        went_back = self.position is not None and is_newer(self.position, listing.resource_version)
        old = {_key(obj): obj for obj in self.objects()}
        kept = [] if went_back else [obj for obj in old.values() if is_newer(version_of(obj), listing.resource_version)]
        self.position = listing.resource_version
        self._objects = {}
        self._found.clear()
        for obj in (*listing.items, *kept):
            self._set(obj)
        new = {_key(obj): obj for obj in self.objects()}
        changed = [obj for key, obj in new.items() if went_back or not _same_version(obj, old.get(key))]
        return changed + [obj for key, obj in old.items() if key not in new]

    def _set(self, obj: Object) -> None:
        namespace, name = _key(obj)
        self._forget(namespace, name)
        self._objects.setdefault(namespace, {})[name] = obj
        for word in self._index(obj):
            self._found[word].add((namespace, name))

    def _drop(self, deleted: Object) -> bool:
        namespace, name = _key(deleted)
        there = self.get(namespace, name)
        if there is None or is_newer(version_of(there), version_of(deleted)):  # made again, and we know already
            return False
        self._forget(namespace, name)
        del self._objects[namespace][name]
        if not self._objects[namespace]:
            del self._objects[namespace]  # namespaces come and go: one for each pull request, say
        return True

    def _forget(self, namespace: str, name: str) -> None:
        """Take an object out of the index."""
        there = self.get(namespace, name)
        for word in self._index(there) if there is not None else ():
            self._found[word].discard((namespace, name))
            if not self._found[word]:
                del self._found[word]


def version_of(obj: Object) -> str:
    """Read an object's resourceVersion."""
    version: str = obj["metadata"]["resourceVersion"]
    return version


def ref_of(kind: Kind, obj: Object) -> Ref:
    """Name an object."""
    return Ref(kind, *_key(obj))


def is_newer(version: str, than: str) -> bool:
    """Compare two resourceVersions of one kind, as the module says."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _same_version(obj: Object, other: Object | None) -> bool:
    return other is not None and version_of(obj) == version_of(other)
