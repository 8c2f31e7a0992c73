"""How fast the shop is, measured on gunicorn and PostgreSQL beside a bare Django in the same run: `make bench`."""
