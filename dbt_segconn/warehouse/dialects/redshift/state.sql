{#- TEXT is varchar(256). -#}
{% macro redshift__segconn_type_string() %}
  {{- return('varchar(65535)') -}}
{% endmacro %}


{% macro redshift__segconn_present(relation, names) %}
{% endmacro %}


{% macro redshift__segconn_schema(relation) %}
  {{- return(postgres__segconn_schema(relation)) -}}
{% endmacro %}
