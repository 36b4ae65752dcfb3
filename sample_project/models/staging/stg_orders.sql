select * exclude (from_day, to_day)
from {{ ref('raw_orders') }}
where {{ there_today() }}
