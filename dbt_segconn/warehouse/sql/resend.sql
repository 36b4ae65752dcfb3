{#- Records that are sent again on purpose. A record is marked by a null checksum, which differs from every row: the
    next sync finds it as updated. `diff.resent` is a ResendChoice of `state/diff.py`. -#}

{#- The chosen identifiers, known or not. A comment at the end of the user's condition ends with its line. -#}
{% macro segconn_chosen(diff) %}
{%- if diff.resent.where -%}
select {{ segconn_record_id(diff.identifier) }} as record_id
from {{ diff.model }}
where (
    {{ diff.resent.where }}
)
    {%- if diff.current %}
    and {{ segconn_is_current(diff) }}
    {%- endif %}
{%- elif diff.resent.sync_id -%}
select record_id
from {{ diff.deliveries }}
where sync_id = {{ segconn_literal(diff.resent.sync_id) }}
    and sync_id in (select sync_id from {{ diff.syncs }} where mapping_id = {{ segconn_literal(diff.mapping_id) }})
{%- else -%}
{{ segconn_literals(diff.resent.record_ids) }}
{%- endif -%}
{% endmacro %}


{#- The chosen records that are known: only these are sent again. -#}
{% macro segconn_resent(diff) %}
select record_id
from {{ segconn_known_records(diff.records) }} as known
where record_id in ({{ segconn_chosen(diff) }})
{%- endmacro %}


{% macro segconn_count_resent(diff) %}
select count(*) from ({{ segconn_resent(diff) }}) as resent
{% endmacro %}


{#- Only of a choice that is a query. -#}
{% macro segconn_count_chosen(diff) %}
select count(distinct record_id) from ({{ segconn_chosen(diff) }}) as chosen
{% endmacro %}


{#- The known records as they are once the chosen ones are marked. -#}
{% macro segconn_as_marked(records, diff) %}
(
    select known.record_id, case when resent.record_id is null then known.checksum end as checksum
    from {{ records }} as known
    left join ({{ segconn_resent(diff) }}) as resent on resent.record_id = known.record_id
)
{%- endmacro %}


{% macro segconn_mark_resent(records, diff) %}
  {{- return(adapter.dispatch('segconn_mark_resent')(records, diff)) -}}
{% endmacro %}

{% macro default__segconn_mark_resent(records, diff) %}
update {{ records }}
set checksum = null{{ ', fingerprint = null' if diff.fingerprints }}
where record_id in ({{ segconn_chosen(diff) }})
{% endmacro %}
