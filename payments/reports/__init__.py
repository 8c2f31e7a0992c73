"""The CSV reports of finance, written by PostgreSQL: see docs/finance.md for each column and figure.

`days` says which days are meant, `cells` how a value becomes a cell, `books` what each report holds,
`export` streams one, `closing` reads the figures of the admin's page.
"""
