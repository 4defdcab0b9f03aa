# make release && docker build -t llmb .
# docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" -e OPENAI_API_KEY llmb run
FROM python:3.11-slim
COPY install.sh requirements-run.lock requirements-model.lock dist/*.whl /build/
RUN sh /build/install.sh /opt/llmb /build/*.whl
ENV PATH="/opt/llmb/bin:$PATH" HOME=/tmp
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["llmb"]
CMD ["--help"]
