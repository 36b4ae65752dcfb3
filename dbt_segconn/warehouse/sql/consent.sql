{#- How a diff holds back records without any consent value. `diff.consent` are the consent columns; it is empty if all
    records are sent. -#}

{#- 1 if no category has a clear value, else 0. All values that calls.py accepts as consent are clear. -#}
{% macro segconn_lacks_consent(consent) %}
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


{#- All records without consent have the same checksum: the loss of consent is sent once, later changes are not. -#}
{% macro segconn_checksum_of(diff) %}
  {%- set content = segconn_checksum(diff.signature, diff.columns) -%}
  {%- if not diff.consent -%} {{- return(content) -}} {%- endif -%}
  {%- set nothing = segconn_checksum(diff.signature ~ ' without consent', []) -%}
  {{- return('case when ' ~ segconn_lacks_consent(diff.consent) ~ ' = 1 then ' ~ nothing ~ ' else ' ~ content ~ ' end') -}}
{% endmacro %}


{#- A record that was sent with these values before `without_value: skip` is not sent again. -#}
{% macro segconn_has_changed(diff) %}
  {%- set known = segconn_known(diff, 'checksum') -%}
  {%- set changed = known ~ ' <> hashed.checksum' -%}
  {{- return('(' ~ changed ~ ' and ' ~ known ~ ' <> hashed.content)' if diff.consent else changed) -}}
{% endmacro %}


{#- Segment never received the record. A known record is sent once more when it loses its last consent value. -#}
{% macro segconn_is_held_back(diff) %}
  {{- return('(' ~ segconn_known(diff, 'record_id') ~ ' is null and hashed.lacks_consent = 1)') -}}
{% endmacro %}


{% macro segconn_count_held_back(diff) %}
with {{ segconn_record_ctes(diff) }}

select count(*)
from hashed
left join {{ segconn_known_records(segconn_or_empty(diff.records, diff.record_columns)) }} as records
    on records.record_id = hashed.record_id
left join duplicates on duplicates.record_id = hashed.record_id
where hashed.record_id is not null and duplicates.record_id is null and {{ segconn_is_held_back(diff) }}
{% endmacro %}
