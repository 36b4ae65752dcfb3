{#- TEXT is varchar(256). -#}
{% macro redshift__segconn_type_string() %}
  {{- return('varchar(65535)') -}}
{% endmacro %}


{#- What has a known length gets it: joins and windows reserve memory for the declared width. Ids of records may have
    any length. -#}
{% macro redshift__segconn_column_type(name, column_type) %}
  {%- set widths = {'sync_id': 64, 'mapping_id': 128, 'token': 64, 'run_id': 64, 'definition': 64, 'signature': 64,
    'checksum': 64, 'change_type': 32, 'status': 32, 'message_id': 128, 'action': 32, 'sync_mode': 64} -%}
  {{- return('varchar(' ~ widths[name] ~ ')' if name in widths else segconn_type(column_type)) -}}
{% endmacro %}


{% macro redshift__segconn_present(relation, names) %}
{% endmacro %}


{% macro redshift__segconn_schema(relation) %}
  {{- return(postgres__segconn_schema(relation)) -}}
{% endmacro %}


{% macro redshift__segconn_create_deliveries(relation, columns) %}
  {{- return(default__segconn_create_deliveries(relation, columns)) -}}
{% endmacro %}
