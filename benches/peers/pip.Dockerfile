# All images of a release by BuildKit and pip: the stages of `uv.Dockerfile`. Wheels are made once, in a cache mount.
FROM peers-bullseye AS base
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1
ARG FRESH
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl iproute2 procps python3 python3-distutils

FROM base AS tools
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update && apt-get install --yes --no-install-recommends git less nano openssh-client \
    && useradd --create-home --uid 1000 --shell /bin/bash dev

# Brings what the others take from the cache; its own layers are thrown away.
FROM base AS downloads
ENV PIP_CERT=/run/ca-certificates.crt PYTHONPATH=/run/pip
ARG INDEX
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=cache,target=/wheels \
    --mount=type=bind,source=bin/pip,target=/run/pip --mount=type=bind,source=ca-certificates.crt,target=/run/ca-certificates.crt \
    --mount=type=bind,source=downloads,target=/run/downloads \
    for list in /run/downloads/*.txt /run/downloads/builders/*.txt; do \
        python3 -m pip wheel ${INDEX:+--index-url "$INDEX"} --no-deps --wheel-dir /wheels \
            --build-constraint /run/downloads/builders/builders.txt --requirement "$list" || exit 1; \
    done

FROM tools AS common
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_DEPS=1 PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/common.txt,target=/run/requirements.txt \
    python3 -m venv --without-pip /opt/venv && PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt

FROM common AS manager
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/manager.txt,target=/run/requirements.txt \
    PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/editable.txt,target=/run/editable.txt \
    --mount=type=bind,source=trees/manager,target=/src/manager,rw --mount=type=bind,source=trees/common,target=/src/common,rw \
    PYTHONPATH=/run/pip python -m pip install --build-constraint /run/editable.txt --editable /src/manager --editable /src/common
COPY files/manager /etc/backend.ai/manager
CMD ["python", "-m", "ai.backend.manager.server"]

FROM common AS agent
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/agent.txt,target=/run/requirements.txt \
    PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/editable.txt,target=/run/editable.txt \
    --mount=type=bind,source=trees/agent,target=/src/agent,rw --mount=type=bind,source=trees/common,target=/src/common,rw \
    PYTHONPATH=/run/pip python -m pip install --build-constraint /run/editable.txt --editable /src/agent --editable /src/common
CMD ["python", "-m", "ai.backend.agent.server"]

FROM common AS storage-proxy
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/storage-proxy.txt,target=/run/requirements.txt \
    PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/editable.txt,target=/run/editable.txt \
    --mount=type=bind,source=trees/storage-proxy,target=/src/storage-proxy,rw \
    --mount=type=bind,source=trees/common,target=/src/common,rw \
    PYTHONPATH=/run/pip python -m pip install --build-constraint /run/editable.txt \
        --editable /src/storage-proxy --editable /src/common
CMD ["python", "-m", "ai.backend.storage.server"]

FROM common AS webserver
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/webserver.txt,target=/run/requirements.txt \
    PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/editable.txt,target=/run/editable.txt \
    --mount=type=bind,source=trees/webserver,target=/src/webserver,rw \
    --mount=type=bind,source=trees/client,target=/src/client,rw \
    PYTHONPATH=/run/pip python -m pip install --build-constraint /run/editable.txt --editable /src/webserver --editable /src/client
CMD ["python", "-m", "ai.backend.web.server", "--config", "/etc/backend.ai/webserver.conf"]

FROM common AS workspace
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/workspace.txt,target=/run/requirements.txt \
    PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/editable.txt,target=/run/editable.txt \
    --mount=type=bind,source=trees/client,target=/src/client,rw \
    PYTHONPATH=/run/pip python -m pip install --build-constraint /run/editable.txt --editable /src/client
CMD ["sleep", "infinity"]

FROM base AS python
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_DEPS=1 PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=cache,target=/wheels --mount=type=bind,source=bin/pip,target=/run/pip \
    --mount=type=bind,source=requirements/compute.txt,target=/run/requirements.txt \
    python3 -m venv --without-pip /opt/venv && PYTHONPATH=/run/pip python -m pip install --requirement /run/requirements.txt
CMD ["python"]

FROM base AS postgres
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get update && apt-get install --yes --no-install-recommends postgresql-13 postgresql-client-13

FROM peers-bookworm AS redis
ARG FRESH
RUN --mount=type=cache,id=bookworm,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=bookworm-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update && apt-get install --yes --no-install-recommends redis-server redis-tools
CMD ["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]

FROM peers-bookworm AS etcd
ARG FRESH
RUN --mount=type=cache,id=bookworm,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=bookworm-lists,target=/var/lib/apt/lists,sharing=locked \
    apt-get update && apt-get install --yes --no-install-recommends etcd-client etcd-server
CMD ["/usr/bin/etcd"]
