{#- GEOGRAPHY cannot be cast to a text. The text of a TIME may have zeros at its end. -#}
{% macro bigquery__segconn_text(column, data_type) %}
  {%- if data_type | upper == 'GEOGRAPHY' -%} {{- return('st_astext(' ~ column ~ ')') -}} {%- endif -%}
  {%- if data_type | upper == 'TIME' -%}
    {{- return("rtrim(rtrim(format_time('%H:%M:%E6S', " ~ column ~ "), '0'), '.')") -}}
  {%- endif -%}
  {{- return(default__segconn_text(column, data_type)) -}}
{% endmacro %}


{#- %Y does not pad years below 1000. -#}
{% macro bigquery__segconn_date(column, data_type) %}
  {{- return("format_date('%E4Y-%m-%d', " ~ column ~ ")") -}}
{% endmacro %}


{% macro bigquery__segconn_timestamp(column, data_type) %}
  {{- return("case when mod(extract(microsecond from " ~ column ~ "), 1000) = 0 then format_datetime('%E4Y-%m-%dT%H:%M:%E3SZ', " ~ column ~ ") else format_datetime('%E4Y-%m-%dT%H:%M:%E6SZ', " ~ column ~ ") end") -}}
{% endmacro %}


{% macro bigquery__segconn_timestamptz(column, data_type) %}
  {{- return(bigquery__segconn_timestamp("datetime(" ~ column ~ ", 'UTC')", 'datetime')) -}}
{% endmacro %}


{#- A time within hours of the years 1 and 9999 may have no UTC time in their range. It stays as it is: most often, such
    a time means "never". -#}
{% macro bigquery__segconn_in_utc(column, zone) %}
  {{- return("coalesce(datetime(safe.timestamp(" ~ column ~ ", " ~ segconn_literal(zone) ~ "), 'UTC'), " ~ column ~ ")") -}}
{% endmacro %}


{#- BigQuery's own text of an interval is not ISO 8601. -#}
{% macro bigquery__segconn_interval(column, data_type) %}
  {%- set parts = ["'P'"] -%}
  {%- for part in ('year', 'month', 'day', 'hour', 'minute') -%}
    {%- set value = 'extract(' ~ part ~ ' from ' ~ column ~ ')' -%}
    {%- do parts.append("if(" ~ value ~ " = 0, '', concat(cast(" ~ value ~ " as string), '" ~ part[0] | upper ~ "'))") -%}
    {%- if part == 'day' -%} {%- do parts.append("'T'") -%} {%- endif -%}
  {%- endfor -%}
  {%- set micros = '(extract(second from ' ~ column ~ ') * 1000000 + mod(extract(microsecond from ' ~ column ~ '), 1000000))' -%}
  {%- set digits = "concat(cast(div(abs(" ~ micros ~ "), 1000000) as string), '.', lpad(cast(mod(abs(" ~ micros ~ "), 1000000) as string), 6, '0'))" -%}
  {%- do parts.append("if(" ~ micros ~ " = 0, '', concat(if(" ~ micros ~ " < 0, '-', ''), rtrim(rtrim(" ~ digits ~ ", '0'), '.'), 'S'))") -%}
  {{- return("regexp_replace(regexp_replace(concat(" ~ (parts | join(', ')) ~ "), 'T$', ''), '^P$', 'PT0S')") -}}
{% endmacro %}


{#- TO_JSON_STRING quotes NaN, fractions of decimals and integers beyond 2^53. Types with such values are written part
    by part. -#}
{% macro bigquery__segconn_json(column, data_type) %}
  {%- set inner = data_type | upper -%}
  {%- if 'FLOAT64' in inner or 'NUMERIC' in inner or 'INT64' in inner or 'INTERVAL' in inner or 'GEOGRAPHY' in inner -%}
    {{- return(bigquery__segconn_json_part(column, data_type, 1)) -}}
  {%- endif -%}
  {{- return('to_json_string(' ~ column ~ ')') -}}
{% endmacro %}

{% macro bigquery__segconn_json_part(value, data_type, depth) %}
  {%- set name = data_type.split('<')[0].split('(')[0] | upper -%}
  {%- if name == 'ARRAY' -%}
    {%- set item, at = 'item_' ~ depth, 'at_' ~ depth -%}
    {%- set text = bigquery__segconn_json_part(item, data_type[6:-1], depth + 1) -%}
    {%- set json = "(select concat('[', coalesce(string_agg(" ~ text ~ ", ',' order by " ~ at ~ "), ''), ']') from unnest(" ~ value ~ ") as " ~ item ~ " with offset as " ~ at ~ ")" -%}
  {%- elif name == 'STRUCT' -%}
    {%- set parts = [] -%}
    {%- for key, field_type in bigquery__segconn_fields(data_type[7:-1]) -%}
      {%- do parts.append(segconn_literal(tojson(key) ~ ':') ~ ', ' ~ bigquery__segconn_json_part(value ~ '.' ~ segconn_quote(key), field_type, depth)) -%}
    {%- endfor -%}
    {%- set json = "concat('{', " ~ (parts | join(", ',', ")) ~ ", '}')" -%}
  {%- elif name == 'FLOAT64' -%}
    {%- set json = 'if(is_nan(' ~ value ~ ') or is_inf(' ~ value ~ '), null, cast(' ~ value ~ ' as string))' -%}
  {%- elif name in ('INT64', 'NUMERIC', 'BIGNUMERIC') -%}
    {%- set json = 'cast(' ~ value ~ ' as string)' -%}
  {%- elif name == 'INTERVAL' -%}
    {%- set json = "concat('\"', " ~ bigquery__segconn_interval(value, name) ~ ", '\"')" -%}
  {%- elif name == 'GEOGRAPHY' -%}
    {%- set json = 'to_json_string(st_astext(' ~ value ~ '))' -%}
  {%- else -%}
    {{- return('to_json_string(' ~ value ~ ')') -}}
  {%- endif -%}
  {{- return('if(' ~ value ~ " is null, 'null', " ~ ('coalesce(' ~ json ~ ", 'null')" if name == 'FLOAT64' else json) ~ ')') -}}
{% endmacro %}

{#- The names and types of a struct's fields: `a` INT64, `b` STRUCT<`c` BOOL>. Only names have backticks. -#}
{% macro bigquery__segconn_fields(text) %}
  {%- set found = namespace(fields=[], name='', type='', depth=0) -%}
  {%- for part in text.split('`') -%}
    {%- if loop.index is even and found.depth == 0 -%}
      {%- set found.name = part -%}
      {%- set found.type = '' -%}
    {%- else -%}
      {%- set found.type = found.type ~ ('`' ~ part ~ '`' if loop.index is even else part) -%}
      {%- if loop.index is odd -%} {%- set found.depth = found.depth + part.count('<') - part.count('>') -%} {%- endif -%}
      {%- if loop.index is odd and found.name and found.depth == 0 -%}
        {%- do found.fields.append((found.name, found.type.strip().rstrip(',').strip())) -%}
      {%- endif -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return(found.fields) -}}
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
