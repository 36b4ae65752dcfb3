"""dbt-segconn: reverse ETL from dbt models to Segment."""

__version__ = "0.1.0"
