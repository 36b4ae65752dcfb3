select * from {{ ref('stg_app_visits') }}
