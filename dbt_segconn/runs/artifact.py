"""The fields of target/segconn/run_results.json, for the manual. A test compares them with a real artifact.

`results[].counts` also holds each count of the history.
"""

from __future__ import annotations

FIELDS = {
    "metadata.schema_version": "Version of this format. New fields may appear; others keep their meaning in a version.",
    "metadata.dbt_segconn_version": "Version of dbt-segconn.",
    "metadata.invocation_id": "Id of the run.",
    "metadata.generated_at": "Start of the run.",
    "elapsed_seconds": "Duration of the run.",
    "success": "Whether every sync delivered every record, and dbt's failures skipped no mapping.",
    "results[].name": "Mapping, as model.mapping.",
    "results[].model": "Unique id of the dbt model.",
    "results[].destination": "Destination of segconn.yml.",
    "results[].action": "identify, track, group, page or screen.",
    "results[].mapping_id": "Id of the mapping in the state tables.",
    "results[].status": "success, partial, failed, blocked, canceled or skipped.",
    "results[].message": "Reason of a status other than success.",
    "results[].is_failure": "Skipped mappings only: whether a failure of dbt, or --fail-fast, is the reason.",
    "results[].seconds": "Duration of the sync.",
    "results[].sync_id": "Id of the sync in the history; null before its first history row.",
    "results[].counts.confirmed_by_this_run": "Calls that Segment accepted in this run.",
    "results[].counts.resumed_by_this_run": "Calls among them that an earlier run had left.",
    "results[].resumed_sync": "Earlier sync that this run finished first: sync_id, status and counts; else null.",
    "results[].timing": "Wall clock and CPU seconds of each step: seconds, cpu_seconds.",
}
"""path → meaning"""
