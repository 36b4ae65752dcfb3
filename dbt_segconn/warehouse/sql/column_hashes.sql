{#- Which columns of an updated record have changed: a text of `names`, which tells the columns and their order, and of
    eight characters for each of them, kept beside the checksum of what was last sent. -#}

{#- Of the same JSON as the checksum: its tag and seven hex digits. The text itself gets no tag, for it may be as long
    as a column can be. -#}
{% macro segconn_column_hashes(names, columns) %}
  {%- set parts = ["'" ~ names ~ "'"] -%}
  {%- for column in columns -%}
    {%- set hash = adapter.dispatch('segconn_hash')(segconn_json_text(column)) -%}
    {%- do parts.append("coalesce('" ~ column.tag ~ "' || substr(" ~ hash ~ ", 1, 7), 'nnnnnnnn')") -%}
  {%- endfor -%}
  {{- return(adapter.dispatch('segconn_joined')(parts)) -}}
{% endmacro %}


{#- Texts that are not null, as one. -#}
{% macro default__segconn_joined(parts) %}
  {{- return(parts | join(' || ')) -}}
{% endmacro %}


{% macro segconn_has_hashes(column_hashes, names) %}
  {{- return('case when substr(' ~ column_hashes ~ ", 1, 8) = '" ~ names ~ "' then 1 else 0 end") -}}
{% endmacro %}


{#- The known records, with whether their hashes are of the columns of now. -#}
{% macro segconn_records_with_hashes(records, names) %}
(
    select record_id, checksum, {{ segconn_has_hashes('column_hashes', names) }} as has_hashes
    from {{ segconn_known_records(records, with_hashes=true) }} as known
)
{%- endmacro %}


{#- A record that is as it was last sent, and whose hashes are not kept yet. -#}
{% macro segconn_lacks_hashes(diff) %}
  {%- set is_as_sent = 'records.checksum = hashed.checksum and records.has_hashes = 0' -%}
  {{- return('(' ~ is_as_sent ~ (' and hashed.says_nothing = 0' if diff.consent else '') ~ ')') -}}
{% endmacro %}


{#- The hashes of updated records, last sent and now: of the outbox, or of a diff. -#}
{% macro segconn_compared(outbox, diff, records, names) %}
select changes.record_id, changes.column_hashes as latest, known.column_hashes as former,
    {{ segconn_has_hashes('known.column_hashes', names) }} as has_hashes
from {{ '(' ~ segconn_changes(diff) ~ ')' if diff else outbox }} as changes
inner join {{ segconn_known_records(records, with_hashes=true) }} as known on known.record_id = changes.record_id
where changes.change_type = 'updated'
{% endmacro %}


{% macro segconn_count_changed_columns(outbox, diff, records, names, columns) %}
select coalesce(sum(has_hashes), 0)
    {%- for column in columns %},
    {%- set start = 8 * loop.index + 1 %}
    coalesce(sum(case when has_hashes = 1 and substr(latest, {{ start }}, 8) <> substr(former, {{ start }}, 8) then 1 else 0 end), 0)
    {%- endfor %}
from ({{ segconn_compared(outbox, diff, records, names) }}) as compared
{% endmacro %}


{% macro segconn_changed_records(diff, records, names, record_ids) %}
select record_id, latest, former
from ({{ segconn_compared(none, diff, records, names) }}) as compared
where has_hashes = 1 and record_id in ({{ segconn_literals(record_ids) }})
{% endmacro %}
