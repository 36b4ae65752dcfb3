{#- Hash each value first: a concatenation of values could exceed the maximum length of a text. -#}
{% macro redshift__segconn_checksum(signature, columns) %}
  {%- set parts = ["'" ~ signature ~ "'"] -%}
  {%- for column in columns -%}
    {%- do parts.append("coalesce('" ~ column.tag ~ "' || md5(" ~ segconn_json_text(column) ~ "), 'n')") -%}
  {%- endfor -%}
  {{- return('md5(' ~ (parts | join(' || ')) ~ ')') -}}
{% endmacro %}


{% macro redshift__segconn_index_outbox(outbox) %}
{% endmacro %}


{% macro redshift__segconn_fingerprint(seed, columns) %}
  {{- return(default__segconn_fingerprint(seed, columns)) -}}
{% endmacro %}


{% macro redshift__segconn_index_records(records) %}
{% endmacro %}
