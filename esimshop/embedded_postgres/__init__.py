"""Django database backend that brings its own PostgreSQL, for demo, development and tests.

`base` is what Django loads, `server` attaches a process to the server in a folder, `keeper` is the small
process that runs it and stops it after its last user. Why: docs/decisions/0001-embedded-postgresql.md.
"""
