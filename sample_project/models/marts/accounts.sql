select
    accounts.account_id,
    accounts.name,
    accounts.industry,
    accounts.employees,
    min(customers.customer_id) as owner_id,
    count(customers.customer_id) as member_count
from {{ ref('stg_accounts') }} as accounts
left join {{ ref('stg_customers') }} as customers on customers.account_id = accounts.account_id
group by all
