{#- Which columns of an updated record have changed. The column hashes of a record are one text: `names` (a hash of the
    columns' names in order), then eight characters for each column. -#}

{#- Each hash covers the same JSON text as the checksum: a tag and seven hex digits. The tag is not part of the hashed
    text, because the text may already have the maximum length of a column. -#}
{% macro segconn_column_hashes(names, columns) %}
  {%- set parts = ["'" ~ names ~ "'"] -%}
  {%- for column in columns -%}
    {%- set hash = adapter.dispatch('segconn_hash')(segconn_json_text(column)) -%}
    {%- do parts.append("coalesce('" ~ column.tag ~ "' || substr(" ~ hash ~ ", 1, 7), 'nnnnnnnn')") -%}
  {%- endfor -%}
  {{- return(adapter.dispatch('segconn_concat')(parts)) -}}
{% endmacro %}


{#- Concatenate texts that are not null. -#}
{% macro default__segconn_concat(parts) %}
  {{- return(parts | join(' || ')) -}}
{% endmacro %}


{% macro segconn_has_hashes(column_hashes, names) %}
  {{- return('case when substr(' ~ column_hashes ~ ", 1, 8) = '" ~ names ~ "' then 1 else 0 end") -}}
{% endmacro %}


{#- The known records, and whether their hashes cover the current columns. -#}
{% macro segconn_records_with_hashes(records, names) %}
(
    select record_id, checksum, {{ segconn_has_hashes('column_hashes', names) }} as has_hashes
    from {{ segconn_known_records(records, with_hashes=true) }} as known
)
{%- endmacro %}


{#- The record is unchanged and has no hashes yet. -#}
{% macro segconn_lacks_hashes(diff) %}
  {%- set is_as_sent = 'records.checksum = hashed.checksum and records.has_hashes = 0' -%}
  {{- return('(' ~ is_as_sent ~ (' and hashed.lacks_consent = 0' if diff.consent else '') ~ ')') -}}
{% endmacro %}


{#- The current and the last sent hashes of updated records, from the outbox or from a diff. -#}
{% macro segconn_select_hashes(outbox, diff, records, names) %}
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
    coalesce(
        sum(
            case
                when has_hashes = 1 and substr(latest, {{ start }}, 8) <> substr(former, {{ start }}, 8) then 1
                else 0
            end
        ),
        0
    )
    {%- endfor %}
from ({{ segconn_select_hashes(outbox, diff, records, names) }}) as compared
{% endmacro %}


{% macro segconn_changed_records(diff, records, names, record_ids) %}
select record_id, latest, former
from ({{ segconn_select_hashes(none, diff, records, names) }}) as compared
where has_hashes = 1 and record_id in ({{ segconn_literals(record_ids) }})
{% endmacro %}
