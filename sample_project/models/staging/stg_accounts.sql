select * exclude (from_day, to_day)
from {{ ref('raw_accounts') }}
where {{ there_today() }}
