"""gRPC services by name: the few lines that generated stubs would hold, and no second copy of the protocol.

Owns how a Python method becomes a handler. Knows no service in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc

Method = tuple[Callable[[Any, Any], Any], type[Any], type[Any]]
"""A unary method: the function (request, context) -> response, the request's type and the response's."""


def service(full_name: str, methods: Mapping[str, Method]) -> Any:
    """A handler for the service `full_name`, to be added to a server."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            function, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )
        for name, (function, request, response) in methods.items()
    }
    return grpc.method_handlers_generic_handler(full_name, handlers)


def call(channel: Any, full_name: str, method: str, request: Any, *, response: type[Any], timeout: float) -> Any:
    """One unary call, for a client."""
    stub = channel.unary_unary(
        f"/{full_name}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=response.FromString,
    )
    return stub(request, timeout=timeout)
