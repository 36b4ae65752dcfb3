{#- The rows of a raw table that are there on the day that is looked at. -#}
{% macro there_today() %}
from_day <= {{ var('day') }} and (to_day is null or to_day >= {{ var('day') }})
{% endmacro %}
