"""Names of mappings: lookup by name, and the name that output shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.strict_model import near_name


@dataclass(frozen=True, slots=True)
class MappingNames:
    """The names of one mapping: `mapping`, `model.mapping`, `package.model.mapping`, and the id in its table names.

    `model` is dbt's unique id, such as `model.shop.customers.v2`.
    """

    model: str
    mapping: str
    id: str

    @property
    def short(self) -> str:
        """`model.mapping`, which output shows if it is unique."""
        return f"{self.model.split('.', 2)[-1]}.{self.mapping}"

    @property
    def full(self) -> str:
        """`package.model.mapping`."""
        return f"{self.model.partition('.')[2]}.{self.mapping}"

    @property
    def all(self) -> frozenset[str]:
        """Every name that a user may write."""
        return frozenset({self.mapping, self.short, self.full, self.id})


class Named(Protocol):
    """A mapping of the project, or the state of a mapping."""

    @property
    def names(self) -> MappingNames:
        """All names of the mapping."""


T = TypeVar("T", bound=Named)


def shown_names(mappings: Iterable[MappingNames]) -> Mapping[str, str]:
    """Return the name that output shows, by id: the first unique one of short name, full name and id."""
    names = dict.fromkeys(mappings)
    taken = Counter(name for one in names for name in one.all)
    return {one.id: next((name for name in (one.short, one.full) if taken[name] == 1), one.id) for one in names}


def find_mappings(mappings: Sequence[T], names: Collection[str]) -> tuple[T, ...]:
    """Return the mappings with any of these names; all mappings if there are no names.

    Raises ConfigurationError for an unknown name.
    """
    known = {name for one in mappings for name in one.names.all}
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(sorted(shown_names(one.names for one in mappings).values())) or "none"
        raise ConfigurationError(
            f"no mapping is named {name!r}.{near_name(name, known)} Mappings: {listed}." for name in unknown
        )
    return tuple(one for one in mappings if not names or not one.names.all.isdisjoint(names))


def find_mapping(name: str, mappings: Iterable[T]) -> T:
    """Return the only mapping with this name. Raises ConfigurationError if there are none or several."""
    found = find_mappings(tuple(mappings), [name])
    if len(found) > 1:
        listed = ", ".join(_full_names(one.names for one in found))
        raise ConfigurationError(f"{name!r} is the name of {len(found)} mappings: {listed}. Write one of these names.")
    return found[0]


def _full_names(mappings: Iterable[MappingNames]) -> list[str]:
    """Return full names, or ids if a removed mapping has the same full name."""
    names = tuple(mappings)
    taken = Counter(one.full for one in names)
    return sorted(one.full if taken[one.full] == 1 else one.id for one in names)


def mapping_in(name: str, model: str) -> str:
    """Return the mapping's own name from its short or full name."""
    for prefix in (model.partition(".")[2], model.split(".", 2)[-1]):
        if name.startswith(f"{prefix}."):
            return name[len(prefix) + 1 :]
    return name
