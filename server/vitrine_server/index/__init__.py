"""Neighbours in memory: vectors, typed filter columns, exact and approximate search.

Nothing here touches the disk or knows item ids. A row is a position in the arrays of one
generation; its label is the sequence number of the write that created it.
"""
