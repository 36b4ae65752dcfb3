select * exclude (from_day, to_day)
from {{ ref('raw_customers') }}
where {{ there_today() }}
