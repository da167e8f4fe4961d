# Pinned by tag; whoever builds for production should pin the digest of that day as well.
# Layers of the build stage are thrown away: one step per line reads better.
# hadolint global ignore=DL3059

FROM python:3.12-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/cloud-agent
COPY requirements/runtime.txt requirements/build.txt /src/requirements/
RUN ["/opt/cloud-agent/bin/pip", "install", "--require-hashes", "-r", "/src/requirements/runtime.txt"]
RUN ["pip", "install", "--require-hashes", "-r", "/src/requirements/build.txt"]
COPY pyproject.toml README.md LICENSE /src/
COPY agent /src/agent
RUN ["pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "/wheels", "/src"]
RUN ["/opt/cloud-agent/bin/pip", "install", "--no-deps", "--no-index", "--find-links", "/wheels", "cloud-agent"]
# The image holds no control plane.
RUN ["rm", "/opt/cloud-agent/bin/control-plane-stub"]
RUN ["mkdir", "/state"]

FROM python:3.12-slim

# glibc maps, faults and unmaps a buffer above its first threshold for every copy: streaming costs
# twice the processor time without these two lines. Only the state directory is ever written to.
ENV PATH=/opt/cloud-agent/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_TRIM_THRESHOLD_=67108864
COPY --from=build /opt/cloud-agent /opt/cloud-agent
COPY --from=build --chown=65532:65532 /state /var/lib/cloud-agent
VOLUME ["/var/lib/cloud-agent"]
USER 65532:65532
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["cloud-agent", "live"]
ENTRYPOINT ["cloud-agent"]
CMD ["run", "-c", "/etc/cloud-agent/agent.yaml"]
