{% macro postgres__segconn_present(relation, names) %}
select lower(relname)
from pg_catalog.pg_class
inner join pg_catalog.pg_namespace on pg_namespace.oid = relnamespace
where relkind in ('r', 'p', 'v', 'm') and lower(nspname) = lower({{ segconn_literal(relation.schema) }})
    and lower(relname) in ({{ segconn_literals(names) }})
{% endmacro %}


{% macro postgres__segconn_schema(relation) %}
  {{- return(relation.without_identifier().include(database=false)) -}}
{% endmacro %}


{% macro postgres__segconn_grant(relation, user) %}
  {{- return("create schema if not exists " ~ adapter.quote(relation.schema) ~ " authorization " ~ adapter.quote(user) ~ ";") -}}
{% endmacro %}


{#- Rows are appended in the order of time: a block range index needs a few kilobytes and hardly any time. -#}
{% macro postgres__segconn_create_deliveries(relation, columns) %}
{{ default__segconn_create_deliveries(relation, columns) }};
create index if not exists deliveries_settled_at on {{ relation }} using brin (settled_at)
{% endmacro %}
