select * exclude (from_day, to_day)
from {{ ref('raw_web_visits') }}
where {{ there_today() }}
