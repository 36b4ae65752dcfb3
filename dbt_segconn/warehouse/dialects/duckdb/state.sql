{% macro duckdb__segconn_present(relation, names) %}
select lower(table_name)
from system.information_schema.tables
where lower(table_catalog) = lower({{ segconn_literal(relation.database) }})
    and lower(table_schema) = lower({{ segconn_literal(relation.schema) }})
    and lower(table_name) in ({{ segconn_literals(names) }})
{% endmacro %}
