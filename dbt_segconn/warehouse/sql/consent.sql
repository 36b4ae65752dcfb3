{#- What a diff does where records are held back that say nothing of consent: `diff.consent` are its columns, none
    where all records are sent. -#}

{#- 1 where no category has a clear value, else 0. What calls.py takes for given is clear, in every form. -#}
{% macro segconn_says_nothing_of(consent) %}
  {%- set clear = [] -%}
  {%- for column in consent -%}
    {%- if column.value_type == 'boolean' -%}
      {%- do clear.append(column.alias ~ ' is not null') -%}
    {%- elif column.value_type in ('integer', 'whole', 'decimal', 'number', 'float', 'single') -%}
      {%- do clear.append(column.alias ~ ' in (0, 1)') -%}
    {%- else -%}
      {%- set text = "replace(lower(cast(" ~ column.alias ~ " as " ~ segconn_type_string() ~ ")), '\"', '')" -%}
      {%- do clear.append(text ~ " in ('true', 'false', 't', 'f', '1', '0', '1.0', '0.0')") -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return('case when ' ~ (clear | join(' or ')) ~ ' then 0 else 1 end') -}}
{% endmacro %}


{#- Of a record that says nothing, all forms are one: that consent is gone is sent once, and what changes later is not. -#}
{% macro segconn_checksum_of(diff) %}
  {%- set content = segconn_checksum(diff.signature, diff.columns) -%}
  {%- if not diff.consent -%} {{- return(content) -}} {%- endif -%}
  {%- set nothing = segconn_checksum(diff.signature ~ ' without consent', []) -%}
  {{- return('case when ' ~ segconn_says_nothing_of(diff.consent) ~ ' = 1 then ' ~ nothing ~ ' else ' ~ content ~ ' end') -}}
{% endmacro %}


{#- What was sent in just this form, before records were held back, is not sent again. -#}
{% macro segconn_has_changed(diff) %}
  {%- set changed = 'records.checksum <> hashed.checksum' -%}
  {{- return('(' ~ changed ~ ' and records.checksum <> hashed.content)' if diff.consent else changed) -}}
{% endmacro %}


{#- Segment has never got the record; one that it has is sent once more when its last consent is gone. -#}
{% macro segconn_is_held_back() %}
  {{- return('(records.record_id is null and hashed.says_nothing = 1)') -}}
{% endmacro %}


{% macro segconn_count_held_back(diff) %}
with {{ segconn_identified(diff) }}

select count(*)
from hashed
left join {{ segconn_known_records(segconn_or_empty(diff.records, diff.record_columns)) }} as records on records.record_id = hashed.record_id
left join duplicates on duplicates.record_id = hashed.record_id
where hashed.record_id is not null and duplicates.record_id is null and {{ segconn_is_held_back() }}
{% endmacro %}
