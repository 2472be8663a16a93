# One image for every process: its module is the argument, as in `docker run keepsake services.temp_image`.
# BASE has Python 3.11 or newer as `python`, with venv. A package index of one's own, and its certificates, come as secrets:
# docker build --secret id=pip.conf,src=pip.conf --secret id=ca.pem,src=ca.pem .
# EXTRAS="heic otel" adds what HEIC_UPLOADS (GPL) and OTEL_EXPORTER_OTLP_ENDPOINT need.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG EXTRAS=
WORKDIR /app
COPY requirements.lock requirements-heic.lock requirements-otel.lock ./
RUN --mount=type=secret,id=pip.conf,target=/run/secrets/pip.conf --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    export PIP_CONFIG_FILE=/run/secrets/pip.conf && \
    python -m venv /app/.venv && \
    for extra in "" $EXTRAS; do \
        /app/.venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements${extra:+-$extra}.lock || exit 1; \
    done && \
    /app/.venv/bin/pip uninstall --quiet --yes pip setuptools

FROM ${BASE} AS keepsake
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 DATA_DIR=/data
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
