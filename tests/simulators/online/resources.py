"""Resource types: their properties by name, where each value comes from, and rows cut to what $select names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tests.simulators.online.errors import bad_request

Row = TypeVar("Row")
Names = tuple[str, ...]

# Properties of the real types that the simulated company has no value for.
_TOLERATED = frozenset(
    {
        "assignedlicenses",
        "assignedplans",
        "employeeid",
        "usagelocation",
        "deleteddatetime",
        "primaryemailaddress",
        "secondaryemailaddress",
        "tertiaryemailaddress",
        "flag",
        "members",
    }
)


class ResourceType(Generic[Row]):
    """A type of Graph's, over records of the company."""

    def __init__(
        self, properties: dict[str, Callable[[Row], Any]], *, default: Names | None = None, always: Names = ()
    ) -> None:
        self.properties = properties
        self._default = default
        self._always = always
        self._lowered = {name.lower(): name for name in properties}
        self._plans: dict[Names | None, list[tuple[str, Callable[[Row], Any]]]] = {}

    def show(self, row: Row, names: Names | None = None) -> dict[str, Any]:
        """The row with the selected, or else the default, properties.

        Raises:
            GraphError: 400 for a property that the type does not have.
        """
        return {name: value(row) for name, value in self._plan(names)}

    def value(self, row: Row, name: str) -> Any:
        """One property of a row, by its name in any case; 400 for one that does not exist."""
        return self.properties[self._actual(name)](row)

    def _plan(self, names: Names | None) -> list[tuple[str, Callable[[Row], Any]]]:
        plan = self._plans.get(names)
        if plan is None:
            wanted = set(names or self._default or self.properties) | set(self._always)
            known = {self._actual(name) for name in wanted if name.lower() not in _TOLERATED}
            plan = [(name, value) for name, value in self.properties.items() if name in known]
            if len(self._plans) < 1_000:  # clients could make up any number of selections
                self._plans[names] = plan
        return plan

    def _actual(self, name: str) -> str:
        actual = self._lowered.get(name.lower())
        if actual is None:
            raise bad_request(f"Could not find a property named '{name}'.")
        return actual
