{#- The text of a double reads back as the same double, such as 1.0E10. -#}
{% macro spark__segconn_written_types() %}
text integer whole decimal exact float single boolean date timestamp timestamptz binary
{% endmacro %}


{#- to_json accepts no plain text: remove the brackets of an array. -#}
{% macro spark__segconn_json_string(text) %}
  {{- return("transform(array(" ~ text ~ "), x -> case when x is not null then substring(to_json(array(x)), 2, length(to_json(array(x))) - 2) end)[0]") -}}
{% endmacro %}


{% macro spark__segconn_join_texts(text, separator) %}
  {{- return('array_join(collect_list(' ~ text ~ '), ' ~ separator ~ ')') -}}
{% endmacro %}
