"""Python SDK and command line of the Vitrine image-search server."""
