"""Records that are sent again on purpose. They are marked by a null checksum: the next sync finds them as updated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dbt_segconn.state.diff import Diff
from dbt_segconn.state.locks import Lock
from dbt_segconn.state.outbox import MappingTables
from dbt_segconn.state.tables import HistoryRow, State


@dataclass(frozen=True, slots=True)
class Resend:
    """The records that a diff sends again, and the tables in which they are counted and marked."""

    state: State
    tables: MappingTables
    diff: Diff

    def count(self) -> int:
        """Count the chosen records that are known: Segment has received them."""
        return int(self.state.session.rows("segconn_count_resent", diff=self.diff)[0][0])

    def count_chosen(self) -> int:
        """Count the chosen identifiers, known or not. The choice must be a sync or a condition, not record ids."""
        return int(self.state.session.rows("segconn_count_chosen", diff=self.diff)[0][0])

    def unknown(self, record_ids: Sequence[str]) -> list[str]:
        """Return the identifiers among `record_ids` that are not known, each once."""
        known = {record_id for (record_id,) in self.state.session.rows("segconn_resent", diff=self.diff)}
        return [record_id for record_id in dict.fromkeys(record_ids) if record_id not in known]

    def mark(self, row: HistoryRow, lock: Lock) -> None:
        """Mark the records, close their discards and append `row` to the history, in one transaction."""
        diff = replace(self.diff, fingerprints=self.state.session.dialect.fingerprints)

        def mark() -> None:
            lock.confirm()  # in the transaction: another process may have broken the lock
            self.tables.discards.close_all(row, diff)
            self.state.session.run("segconn_mark_resent", records=self.tables.records, diff=diff)
            self.state.append(self.state.history, [row])

        self.state.together(mark)
