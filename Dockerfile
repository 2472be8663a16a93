# One image for every process: its module is the argument, as in `docker run keepsake services.temp_image`.
FROM python:3.11-slim AS build
WORKDIR /app
COPY requirements.lock .
RUN python -m venv /app/.venv && /app/.venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

FROM python:3.11-slim AS keepsake
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 DATA_DIR=/data MALLOC_TRIM_THRESHOLD_=131072
RUN useradd --system --uid 10001 --no-create-home keepsake && install -d -o keepsake /data
WORKDIR /app
COPY --from=build /app/.venv /app/.venv
COPY shared shared
COPY services services
COPY gateway gateway
COPY web web
COPY clients/javascript/src clients/javascript/src
USER 10001
VOLUME /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m"]
CMD ["gateway"]

# With the Stripe sandbox, to try everything without money; what production runs does not have it.
FROM keepsake AS development
COPY stripe_sandbox stripe_sandbox

FROM keepsake
