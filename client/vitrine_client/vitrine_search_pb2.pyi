from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Vector(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class QueryPart(_message.Message):
    __slots__ = ("image", "vector", "text", "item_id", "weight")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    vector: Vector
    text: str
    item_id: str
    weight: float
    def __init__(self, image: _Optional[bytes] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., text: _Optional[str] = ..., item_id: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("collection", "parts", "k", "offset", "filter", "group_by", "min_score", "with_metadata", "with_vector", "rerank")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    WITH_METADATA_FIELD_NUMBER: _ClassVar[int]
    WITH_VECTOR_FIELD_NUMBER: _ClassVar[int]
    RERANK_FIELD_NUMBER: _ClassVar[int]
    collection: str
    parts: _containers.RepeatedCompositeFieldContainer[QueryPart]
    k: int
    offset: int
    filter: str
    group_by: str
    min_score: float
    with_metadata: bool
    with_vector: bool
    rerank: str
    def __init__(self, collection: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[QueryPart, _Mapping]]] = ..., k: _Optional[int] = ..., offset: _Optional[int] = ..., filter: _Optional[str] = ..., group_by: _Optional[str] = ..., min_score: _Optional[float] = ..., with_metadata: _Optional[bool] = ..., with_vector: _Optional[bool] = ..., rerank: _Optional[str] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("id", "score", "group", "metadata", "vector", "rerank_score")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    RERANK_SCORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    group: str
    metadata: str
    vector: Vector
    rerank_score: float
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., group: _Optional[str] = ..., metadata: _Optional[str] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., rerank_score: _Optional[float] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("hits", "encoder", "fingerprint", "snapshot", "timings_ms", "fallback")
    class TimingsMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    HITS_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_MS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    encoder: str
    fingerprint: str
    snapshot: str
    timings_ms: _containers.ScalarMap[str, float]
    fallback: str
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., encoder: _Optional[str] = ..., fingerprint: _Optional[str] = ..., snapshot: _Optional[str] = ..., timings_ms: _Optional[_Mapping[str, float]] = ..., fallback: _Optional[str] = ...) -> None: ...

class IngestRequest(_message.Message):
    __slots__ = ("collection", "id", "image", "vector", "metadata")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    collection: str
    id: str
    image: bytes
    vector: Vector
    metadata: str
    def __init__(self, collection: _Optional[str] = ..., id: _Optional[str] = ..., image: _Optional[bytes] = ..., vector: _Optional[_Union[Vector, _Mapping]] = ..., metadata: _Optional[str] = ...) -> None: ...

class IngestResult(_message.Message):
    __slots__ = ("id", "sequence", "problem")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    id: str
    sequence: int
    problem: str
    def __init__(self, id: _Optional[str] = ..., sequence: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...
