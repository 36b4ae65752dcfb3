select
    customers.customer_id,
    customers.first_name,
    customers.last_name,
    customers.email,
    customers.phone,
    customers.plan,
    plans.monthly_price,
    customers.account_id,
    customers.email_opt_in,
    customers.ads_opt_in,
    customers.updated_at,
    count(orders.order_id) as order_count,
    coalesce(sum(orders.total), 0) as lifetime_value
from {{ ref('stg_customers') }} as customers
left join {{ ref('plans') }} as plans on plans.plan = customers.plan
left join {{ ref('stg_orders') }} as orders on orders.customer_id = customers.customer_id
group by all
