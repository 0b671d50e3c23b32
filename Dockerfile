# syntax=docker/dockerfile:1
#
# Two images from one wheel:
#   producer   intake, dispatch, status, migrations; without torch
#   worker     everything above, torch and the models; for the CPU by default. For NVIDIA devices
#              (untested), build with --build-arg TORCH_INDEX=https://pypi.org/simple

FROM python:3.11-slim AS wheel
WORKDIR /src
RUN --mount=type=bind,source=requirements.lock,target=/tmp/requirements.lock \
    pip install --no-cache-dir --constraint /tmp/requirements.lock build
COPY . .
RUN python -m build --wheel --outdir /dist

FROM python:3.11-slim AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin textmill

FROM base AS producer
RUN --mount=type=bind,source=requirements.lock,target=/tmp/requirements.lock \
    --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --constraint /tmp/requirements.lock /dist/*.whl
USER 10001:10001
CMD ["textmill", "--help"]

FROM base AS worker
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# In a separate layer: torch is by far the largest part and does not change with the code.
RUN --mount=type=bind,source=requirements.lock,target=/tmp/requirements.lock \
    pip install --constraint /tmp/requirements.lock --extra-index-url "$TORCH_INDEX" torch
RUN --mount=type=bind,source=requirements.lock,target=/tmp/requirements.lock \
    --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --constraint /tmp/requirements.lock "$(echo /dist/*.whl)[worker]"
# A new volume takes the owner of the folder that it is mounted on.
RUN install --directory --owner=10001 --group=10001 /models
USER 10001:10001
CMD ["textmill-worker", "--help"]
