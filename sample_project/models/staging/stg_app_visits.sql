select * exclude (from_day, to_day)
from {{ ref('raw_app_visits') }}
where {{ there_today() }}
