{#- How the warehouse writes calls: their JSON, joined to groups. Parts and conditions of a call are a WrittenCall of
    `engine/calls.py`. A change whose call may differ from that of Python has no text here. -#}

{#- The value types with exact JSON, separated by blanks; none in a warehouse that writes no calls. A double is exact
    if its text reads back as the same double and shows that it is one. -#}
{% macro segconn_written_types() %}
  {{- return(adapter.dispatch('segconn_written_types')()) -}}
{% endmacro %}

{% macro default__segconn_written_types() %}
{% endmacro %}


{#- Compiled calls of the changes above `after` and up to `upto`, joined in groups of at most `size` changes: the
    last change number, the number of changes, the number of calls, their text, and the numbers of other changes. -#}
{% macro segconn_read_calls(outbox, call, change_types, after, upto, size) %}
  {{- return(adapter.dispatch('segconn_read_calls')(outbox, call, change_types, after, upto, size)) -}}
{% endmacro %}

{% macro default__segconn_read_calls(outbox, call, change_types, after, upto, size) %}
{{ segconn_joined_calls(outbox, call, change_types, after, upto) }}
group by floor((change_number - 1) / {{ size }})
{% endmacro %}


{% macro segconn_joined_calls(outbox, call, change_types, after, upto) %}
{%- set other = 'case when written is null then ' ~ segconn_as_text('change_number', 'integer') ~ ' end' -%}
{%- set length = adapter.dispatch('segconn_byte_length')('text_of_call') -%}
select
    max(change_number) as last_change,
    count(*) as changes,
    count(written) as calls,
    {{ adapter.dispatch('segconn_join_calls')('written') }} as joined,
    {{ adapter.dispatch('segconn_join_texts')(other, segconn_literal(',')) }} as others
from (
    select change_number, case when {{ length }} <= {{ call.most_bytes }} then text_of_call end as written
    from (
        select change_number, {{ segconn_written_call(call) }} as text_of_call
        from {{ outbox }}
        where change_number > {{ after }} and change_number <= {{ upto }}
            and change_type in ({{ segconn_literals(change_types) }})
        {{ adapter.dispatch('segconn_fence')() }}
    ) as texts
) as checked
{% endmacro %}


{% macro segconn_written_call(call) %}
  {%- set conditions = ["change_type <> 'deleted'"] -%}
  {%- for leaves in call.required -%}
    {%- set texts = [] -%}
    {%- for leaf in leaves -%} {%- do texts.append("coalesce(" ~ segconn_leaf_text(leaf) ~ ", '') <> ''") -%} {%- endfor -%}
    {%- do conditions.append('(' ~ (texts | join(' or ')) ~ ')') -%}
  {%- endfor -%}
  {%- if call.timestamp -%}
    {%- do conditions.append('coalesce(length(' ~ call.timestamp.alias ~ '), 24) in (24, 27)') -%}
  {%- endif -%}
  {%- for leaf in call.leaves -%}
    {%- for column in leaf.columns -%}
      {%- set exact = adapter.dispatch('segconn_is_exact')(column, leaf.form) -%}
      {%- if exact -%} {%- do conditions.append('coalesce(' ~ exact ~ ', true)') -%} {%- endif -%}
    {%- endfor -%}
  {%- endfor -%}
  {%- set number = segconn_as_text('change_number', 'integer') -%}
  {%- set parts = segconn_written_parts(call.parts) -%}
  {%- do parts.extend([segconn_literal('"messageId":"' ~ call.prefix), number, segconn_literal('"}')]) -%}
  {{- return('case when ' ~ (conditions | unique | join(' and ')) ~ ' then ' ~ segconn_concat(parts) ~ ' end') -}}
{% endmacro %}


{#- A list of SQL texts that are never null. -#}
{% macro segconn_written_parts(parts) %}
  {%- set texts = [] -%}
  {%- for part in parts -%}
    {%- if part is string -%}
      {%- do texts.append(segconn_literal(part)) -%}
    {%- elif part.parts is defined -%}
      {%- do texts.append('substr(' ~ segconn_concat(segconn_written_parts(part.parts)) ~ ', 2)') -%}
    {%- elif part.before -%}
      {%- do texts.append("coalesce(" ~ segconn_literal(part.before) ~ " || " ~ segconn_written_leaf(part) ~ ", '')") -%}
    {%- elif part.form == 'json' or part.form == 'text' -%}
      {%- do texts.append("coalesce(" ~ segconn_written_leaf(part) ~ ", 'null')") -%}
    {%- else -%}
      {%- do texts.append(segconn_written_leaf(part)) -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return(texts) -}}
{% endmacro %}


{#- The JSON of a leaf; null if the call has no such key. -#}
{% macro segconn_written_leaf(leaf) %}
  {%- if leaf.form == 'consent' -%}
    {{- return("case when " ~ segconn_gives_consent(leaf.column) ~ " then 'true' else 'false' end") -}}
  {%- elif leaf.form == 'json' -%}
    {{- return(segconn_written_value(leaf.column)) -}}
  {%- endif -%}
  {%- set text = segconn_leaf_text(leaf) -%}
  {%- if leaf.form == 'text' and leaf.column.value_type not in ('text', 'interval') -%}
    {{- return("'\"' || " ~ text ~ " || '\"'") -}}
  {%- endif -%}
  {{- return(segconn_json_string("nullif(" ~ text ~ ", '')" if leaf.drops == 'empty' else text)) -}}
{% endmacro %}


{#- The JSON of a column. -#}
{% macro segconn_written_value(column) %}
  {%- if column.value_type in ('integer', 'whole', 'boolean', 'json') -%}
    {{- return(segconn_as_text(column.alias, column.value_type)) -}}
  {%- elif column.value_type in ('decimal', 'float', 'single', 'number') -%}
    {{- return(adapter.dispatch('segconn_written_number')(column.alias, column.value_type)) -}}
  {%- elif column.value_type in ('text', 'interval') -%}
    {{- return(segconn_json_string(column.alias)) -}}
  {%- endif -%}
  {{- return("'\"' || " ~ column.alias ~ " || '\"'") -}}
{% endmacro %}


{#- The text of a leaf: null if its column is null, unless it is a template. -#}
{% macro segconn_leaf_text(leaf) %}
  {%- if leaf.form != 'template' -%}
    {{- return(segconn_as_text(leaf.column.alias, leaf.column.value_type)) -}}
  {%- endif -%}
  {%- set texts = [] -%}
  {%- for piece in leaf.pieces -%}
    {%- if piece is not string -%}
      {%- do texts.append('coalesce(' ~ segconn_as_text(piece.alias, piece.value_type) ~ ", '')") -%}
    {%- elif piece -%}
      {%- do texts.append(segconn_literal(piece)) -%}
    {%- endif -%}
  {%- endfor -%}
  {{- return(segconn_concat(texts)) -}}
{% endmacro %}


{#- The same rule as `_is_given` in calls.py. -#}
{% macro segconn_gives_consent(column) %}
  {%- if column.value_type == 'boolean' -%} {{- return('coalesce(' ~ column.alias ~ ', false)') -}}
  {%- elif column.value_type in ('integer', 'whole', 'decimal', 'number', 'float', 'single') -%}
    {{- return('coalesce(' ~ column.alias ~ ' = 1, false)') -}}
  {%- endif -%}
  {{- return("coalesce(lower(" ~ column.alias ~ ") in ('true', 't', '1'), false)") -}}
{% endmacro %}


{#- Functions accept a limited number of arguments. -#}
{% macro segconn_concat(texts) %}
  {%- if texts | length < 2 -%} {{- return(texts[0]) -}} {%- endif -%}
  {%- set groups = [] -%}
  {%- for group in texts | batch(90) -%} {%- do groups.append('concat(' ~ (group | join(', ')) ~ ')') -%} {%- endfor -%}
  {{- return(groups[0] if groups | length == 1 else 'concat(' ~ (groups | join(', ')) ~ ')') -}}
{% endmacro %}


{#- The condition for values whose JSON is exact; '' if all are. Integers from 1e21 have an exponent as text. -#}
{% macro default__segconn_is_exact(column, form) %}
  {%- if column.value_type == 'whole' and form != 'json' -%}
    {{- return(column.alias ~ ' between -999999999999999999999 and 999999999999999999999') -}}
  {%- endif -%}
  {{- return('') -}}
{% endmacro %}


{#- A text as JSON, with quotation marks; null stays null. -#}
{% macro segconn_json_string(text) %}
  {{- return(adapter.dispatch('segconn_json_string')(text)) -}}
{% endmacro %}

{% macro default__segconn_json_string(text) %}
  {{- return('cast(to_json(' ~ text ~ ') as ' ~ segconn_type_string() ~ ')') -}}
{% endmacro %}


{% macro default__segconn_written_number(value, value_type) %}
  {{- return(segconn_as_text(value, value_type)) -}}
{% endmacro %}

{% macro default__segconn_byte_length(text) %}
  {{- return('octet_length(' ~ text ~ ')') -}}
{% endmacro %}

{% macro default__segconn_join_texts(text, separator) %}
  {{- return('string_agg(' ~ text ~ ', ' ~ separator ~ ')') -}}
{% endmacro %}

{#- Between two calls stand a comma and a line feed, which no call contains. -#}
{% macro default__segconn_join_calls(text) %}
  {{- return(adapter.dispatch('segconn_join_texts')(text, segconn_literal(',\n'))) -}}
{% endmacro %}

{#- What keeps a planner from copying the expression of a call to each place where it is used. -#}
{% macro default__segconn_fence() %}
{% endmacro %}
