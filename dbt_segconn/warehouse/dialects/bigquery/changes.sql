{% macro bigquery__segconn_hash(text) %}
  {{- return('to_hex(md5(' ~ text ~ '))') -}}
{% endmacro %}


{#- One worker would number all changes, and run out of memory. Instead, each of 256 buckets is numbered alone: the
    first bucket has the numbers 1, 257, 513, … Changes that are not sent come last. -#}
{% macro bigquery__segconn_number_rows() %}
  {%- set bucket = "(farm_fingerprint(coalesce(record_id, checksum)) & 255)" -%}
  {{- return("(row_number() over (partition by " ~ bucket ~ " order by case when change_type in ('null_identifier', 'duplicate_identifier') then 1 else 0 end, record_id) - 1) * 256 + " ~ bucket ~ " + 1") -}}
{% endmacro %}


{% macro bigquery__segconn_nth() %}
  {{- return('change_number') -}}
{% endmacro %}


{#- A page of changes then reads a part of the outbox. -#}
{% macro bigquery__segconn_create_outbox(outbox) %}
  {{- return('create table ' ~ outbox ~ ' cluster by change_number') -}}
{% endmacro %}
