"""The control plane's memory: tables, transactions, migrations and one repository per noun."""
