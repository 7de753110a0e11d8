# Serin's image: no shell, no package manager, no root; a read-only root file system is enough (emptyDir on /tmp).
#
#   docker build -t registry.example/serin:0.1.0 .
#
# The base images are not pinned here: a tag is moved on, with security fixes, and nobody can check a digest by looking at it. Who builds
# for production pins both by the arguments, and so knows what was built on:
#
#   docker build --build-arg BUILD_IMAGE=python:3.13-slim-trixie@sha256:… \
#                --build-arg RUNTIME_IMAGE=gcr.io/distroless/python3-debian13:nonroot@sha256:… .
#
# `docker buildx imagetools inspect IMAGE` tells the digest. Both must be of one Python version (3.13) and one architecture.
# Python packages are pinned with hashes in deploy/image/*.lock, which are parts of requirements.lock.
ARG BUILD_IMAGE=python:3.13-slim-trixie
ARG RUNTIME_IMAGE=gcr.io/distroless/python3-debian13:nonroot

FROM ${BUILD_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# A folder and no virtual environment: the runtime's interpreter is elsewhere.
COPY deploy/image/runtime.lock deploy/image/
RUN python -m pip install --require-hashes --only-binary=:all: --target=/app -r deploy/image/runtime.lock
COPY deploy/image/build.lock deploy/image/
RUN python -m pip install --require-hashes --only-binary=:all: -r deploy/image/build.lock
COPY pyproject.toml README.md ./
COPY policies/examples policies/examples
COPY analyzer analyzer
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir=/dist . \
 && python -m pip install --no-deps --no-index --target=/app /dist/serin-*.whl

FROM ${RUNTIME_IMAGE}
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /app /app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/bin/python3", "-m", "analyzer"]
CMD ["--help"]
