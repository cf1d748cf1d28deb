# All images of a release by the engine's classic builder and pip: the stages of `uv.Dockerfile`, without mounts. What a
# step needs is copied before it, and what it downloads is not kept. A pip that knows build constraints lies beside the one
# that a release's packages name.
FROM peers-bullseye AS base
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1
ARG FRESH
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl iproute2 procps python3 python3-distutils python3-venv \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists
COPY ca-certificates.crt requirements/editable.txt requirements/builders.txt /opt/build/

FROM base AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends git less nano openssh-client \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists && useradd --create-home --uid 1000 --shell /bin/bash dev

FROM tools AS common
ARG INDEX
ENV PIP_CERT=/opt/build/ca-certificates.crt PIP_INDEX_URL=$INDEX PIP_NO_CACHE_DIR=1 PIP_NO_DEPS=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/common.txt /opt/build/
RUN python3 -m venv /opt/venv && pip install --target /opt/pip pip==25.3 \
    && PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/common.txt

FROM common AS manager
COPY requirements/manager.txt /opt/build/
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/manager.txt
COPY trees/common /src/common
COPY trees/manager /src/manager
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/editable.txt --editable /src/manager --editable /src/common
COPY files/manager /etc/backend.ai/manager
CMD ["python", "-m", "ai.backend.manager.server"]

FROM common AS agent
COPY requirements/agent.txt /opt/build/
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/agent.txt
COPY trees/common /src/common
COPY trees/agent /src/agent
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/editable.txt --editable /src/agent --editable /src/common
CMD ["python", "-m", "ai.backend.agent.server"]

FROM common AS storage-proxy
COPY requirements/storage-proxy.txt /opt/build/
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/storage-proxy.txt
COPY trees/common /src/common
COPY trees/storage-proxy /src/storage-proxy
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/editable.txt --editable /src/storage-proxy --editable /src/common
CMD ["python", "-m", "ai.backend.storage.server"]

FROM common AS webserver
COPY requirements/webserver.txt /opt/build/
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/webserver.txt
COPY trees/client /src/client
COPY trees/webserver /src/webserver
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/editable.txt --editable /src/webserver --editable /src/client
CMD ["python", "-m", "ai.backend.web.server", "--config", "/etc/backend.ai/webserver.conf"]

FROM common AS workspace
COPY requirements/workspace.txt /opt/build/
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/workspace.txt
COPY trees/client /src/client
RUN PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/editable.txt --editable /src/client
CMD ["sleep", "infinity"]

FROM base AS python
ARG INDEX
ENV PIP_CERT=/opt/build/ca-certificates.crt PIP_INDEX_URL=$INDEX PIP_NO_CACHE_DIR=1 PIP_NO_DEPS=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/compute.txt /opt/build/
RUN python3 -m venv /opt/venv && pip install --target /opt/pip pip==25.3 \
    && PYTHONPATH=/opt/pip python -m pip install --build-constraint /opt/build/builders.txt --requirement /opt/build/compute.txt
CMD ["python"]

FROM base AS postgres
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-13 postgresql-client-13 \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists

FROM peers-bookworm AS redis
ARG FRESH
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server redis-tools \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists
CMD ["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]

FROM peers-bookworm AS etcd
ARG FRESH
RUN apt-get update && apt-get install --yes --no-install-recommends etcd-client etcd-server \
    && rm -rf /var/cache/apt/archives /var/lib/apt/lists
CMD ["/usr/bin/etcd"]
