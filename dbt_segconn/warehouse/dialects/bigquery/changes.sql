{% macro bigquery__segconn_hash(text) %}
  {{- return('to_hex(md5(' ~ text ~ '))') -}}
{% endmacro %}


{% macro bigquery__segconn_number_rows() %}
  {{- return(segconn_number_in_buckets("(farm_fingerprint(coalesce(record_id, checksum)) & 255)")) -}}
{% endmacro %}


{% macro bigquery__segconn_nth() %}
  {{- return('change_number') -}}
{% endmacro %}


{#- A page of changes then reads a part of the outbox. -#}
{% macro bigquery__segconn_create_outbox(outbox) %}
  {{- return('create table ' ~ outbox ~ ' cluster by change_number') -}}
{% endmacro %}
