"""The messages and the service of `inference.proto`, and how Serve's gRPC servers learn of them.

They are made from the compiled `inference.binpb`, in a descriptor pool of their own: so they get along in one process
with Triton's client, which has messages of the same names, and with any release of protobuf.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")


@functools.cache
def message(name: str) -> Any:
    """The class of a message: `ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    compiled = Path(__file__).with_name("inference.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        pool.Add(file)
    return pool


def add_to_server(servicer: object, server: grpc.aio.Server) -> None:
    """What `grpc_options` of the Serve document names (`grpc_servicer_functions`)."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name),
            request_deserializer=message(f"{name}Request").FromString,
            response_serializer=message(f"{name}Response").SerializeToString,
        )
        for name in METHODS
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
