select * from {{ ref('stg_web_visits') }}
