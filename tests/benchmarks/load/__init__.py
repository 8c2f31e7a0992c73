"""A day of a busy shop, compressed: everybody at once, on gunicorn, workers, PostgreSQL and the sandbox."""
