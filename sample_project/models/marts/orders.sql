select
    order_id,
    customer_id,
    ordered_at,
    total,
    currency,
    cast(line_items as json) as line_items
from {{ ref('stg_orders') }}
