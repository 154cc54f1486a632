"""Search sidecar of Vitrine: HTTP API, FAISS index and record store in front of Triton."""
