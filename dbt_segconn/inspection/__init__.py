"""What users ask and do beside a run: previews, costs, the past, what is wrong, resets."""
