{% macro bigquery__segconn_timestamp(column, data_type) %}
  {{- return("format_datetime(if(mod(extract(microsecond from " ~ column ~ "), 1000) = 0, '%Y-%m-%dT%H:%M:%E3SZ', '%Y-%m-%dT%H:%M:%E6SZ'), " ~ column ~ ")") -}}
{% endmacro %}


{% macro bigquery__segconn_timestamptz(column, data_type) %}
  {{- return(bigquery__segconn_timestamp("datetime(" ~ column ~ ", 'UTC')", 'datetime')) -}}
{% endmacro %}


{% macro bigquery__segconn_in_utc(column, zone) %}
  {{- return("datetime(timestamp(" ~ column ~ ", " ~ segconn_literal(zone) ~ "), 'UTC')") -}}
{% endmacro %}


{% macro bigquery__segconn_json(column, data_type) %}
  {{- return('to_json_string(' ~ column ~ ')') -}}
{% endmacro %}


{% macro bigquery__segconn_binary(column, data_type) %}
  {{- return('to_base64(' ~ column ~ ')') -}}
{% endmacro %}


{% macro bigquery__segconn_text_literal(value) %}
  {{- return("'" ~ (value | replace("\\", "\\\\") | replace("'", "\\'") | replace("\n", "\\n") | replace("\r", "\\r")) ~ "'") -}}
{% endmacro %}


{% macro bigquery__segconn_now() %}
  {{- return("current_datetime('UTC')") -}}
{% endmacro %}
