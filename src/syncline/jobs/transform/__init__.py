"""Steps that follow a successful sync: SQL at the destination, dbt, a Databricks job, an HTTP call, a command."""
