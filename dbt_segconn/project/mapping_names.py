"""Names of mappings: which mapping a name means, and how output names a mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dbt_segconn.errors import ConfigurationError
from dbt_segconn.project.strict_model import near_name


@dataclass(frozen=True, slots=True)
class MappingNames:
    """The names of one mapping: `mapping`, `model.mapping`, `package.model.mapping`, and the id of its tables.

    `model` is the unique id of dbt, such as `model.shop.customers.v2`.
    """

    model: str
    mapping: str
    id: str

    @property
    def short(self) -> str:
        """The name that output shows as long as no other mapping has it: `model.mapping`."""
        return f"{self.model.split('.', 2)[-1]}.{self.mapping}"

    @property
    def full(self) -> str:
        """The name with the package: `package.model.mapping`."""
        return f"{self.model.partition('.')[2]}.{self.mapping}"

    @property
    def all(self) -> frozenset[str]:
        """Every name that a user may write."""
        return frozenset({self.mapping, self.short, self.full, self.id})


class Named(Protocol):
    """A mapping of the project, or the state of one."""

    @property
    def names(self) -> MappingNames:
        """Its names."""


One = TypeVar("One", bound=Named)


def shown_names(mappings: Iterable[MappingNames]) -> Mapping[str, str]:
    """Return the name that output shows, by id: the first of short name, full name and id that means one mapping."""
    names = dict.fromkeys(mappings)
    taken = Counter(name for one in names for name in one.all)
    return {one.id: next((name for name in (one.short, one.full) if taken[name] == 1), one.id) for one in names}


def named(mappings: Sequence[One], names: Collection[str]) -> tuple[One, ...]:
    """Keep the mappings that have one of these names; no names keep all.

    Raises ConfigurationError for a name that no mapping has.
    """
    known = {name for one in mappings for name in one.names.all}
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(sorted(shown_names(one.names for one in mappings).values())) or "none"
        raise ConfigurationError(
            f"no mapping is named {name!r}.{near_name(name, known)} Mappings: {listed}." for name in unknown
        )
    return tuple(one for one in mappings if not names or not one.names.all.isdisjoint(names))


def only(name: str, mappings: Iterable[One]) -> One:
    """Return the one mapping that has a name. Raises ConfigurationError where there are several, or none."""
    found = named(tuple(mappings), [name])
    if len(found) > 1:
        listed = ", ".join(_full_names(one.names for one in found))
        raise ConfigurationError(f"{name!r} is the name of {len(found)} mappings: {listed}. Write one of these.")
    return found[0]


def _full_names(mappings: Iterable[MappingNames]) -> list[str]:
    """Return full names; ids where a mapping of the project and one that is gone have the same full name."""
    names = tuple(mappings)
    taken = Counter(one.full for one in names)
    return sorted(one.full if taken[one.full] == 1 else one.id for one in names)


def mapping_in(name: str, model: str) -> str:
    """Return the mapping's own name from a name that output showed, short or full."""
    for prefix in (model.partition(".")[2], model.split(".", 2)[-1]):
        if name.startswith(f"{prefix}."):
            return name[len(prefix) + 1 :]
    return name
