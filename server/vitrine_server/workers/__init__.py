"""Several processes that serve HTTP on one port (VITRINE_WORKERS), and one that owns the index.

    connections → front (N processes: HTTP, keys, limits, decode, cache, encode, JSON)
                    │  searches and writes, gathered into batches: `link`, `wire`, `remote`
                    │  every other call, as the HTTP that it came as: `forward`
                  owner (the whole application on Unix sockets, and gRPC): `owner`

A supervisor (`processes`) keeps them alive. Whatever must be one is the owner's: the collections,
the catalogue, a key's rate, the sum of the figures. So a write that was answered by one front is
seen by a search through any other, and a front that dies takes nothing with it but its requests.
"""
